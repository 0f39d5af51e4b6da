"""Batch normalisation by one kernel instead of several passes over memory."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

_KERNEL_DTYPES = ("float32", "bfloat16", "float16")
_KERNEL_RANK = 4


@keras.saving.register_keras_serializable("clustr_tf")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' layer, its weights and its arithmetic to rounding, in TensorFlow's fused kernel.

    Keras on TensorFlow computes moments and normalises in several passes over memory each way, in
    float32 whatever the policy. The kernel is one pass each way; under mixed precision it reads and
    writes what the convolutions do, while statistics, scale and offset stay float32.

    - The moving variance is that of the batch, divided by n as Keras has it: the kernel's, divided
      by n - 1 as PyTorch's, is corrected back.
    - The kernel takes feature maps, channels last, in float32, bfloat16 and float16. All else is
      left to Keras: float64, other ranks and axes, masks, `renorm`, `synchronized`, other backends.
    - With frozen statistics (`training=False`, or `trainable=False`) gradients reach inputs, scale
      and offset; moving averages have none.
    - `epsilon` is taken as it is: cuDNN asked for at least 1e-5 before 7.5, and TensorFlow
      raises it to 1.001e-5 in `tf.nn.fused_batch_norm`, not in the kernel.

    Arguments are those of `keras.layers.BatchNormalization`.

    Input and output shape: `[batch, ..., channels]`.

    Example:
        >>> BatchNormalization(epsilon=1e-5, momentum=0.9)(feature_maps, training=True)

    Reference:
        Ioffe and Szegedy, arXiv 1502.03167.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if mask is not None or not self._has_kernel(inputs):
            return super().call(inputs, training=training, mask=mask)
        mean, variance = _float32(self.moving_mean), _float32(self.moving_variance)
        scale = _float32(self.gamma) if self.scale else ops.ones_like(mean)
        offset = _float32(self.beta) if self.center else ops.zeros_like(mean)
        if training and self.trainable:
            outputs, *moments = _by_batch(inputs, scale, offset, self.epsilon)
            for moving, old, new in zip(
                (self.moving_mean, self.moving_variance), (mean, variance), moments, strict=True
            ):
                moving.assign(old * self.momentum + new * (1 - self.momentum))
        else:
            outputs = _frozen(inputs, scale, offset, mean, variance, self.epsilon)
        return ops.cast(_apart(outputs), self.compute_dtype)

    def _has_kernel(self, inputs: Any) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and keras.backend.standardize_dtype(inputs.dtype) in _KERNEL_DTYPES
            and len(inputs.shape) == _KERNEL_RANK
            and self.axis in (-1, _KERNEL_RANK - 1)
            and not (self.renorm or self.synchronized)
        )


def _float32(weight: Any) -> Any:
    return tf.cast(tf.convert_to_tensor(weight), tf.float32)


def _apart(outputs: Any) -> Any:
    """The same, never merged with a ReLU behind it.

    oneDNN's merged kernel makes 0 of NaN: a broken network would look healthy. TensorFlow's graph
    optimiser merges the two side by side only. It costs nothing in float32, a tenth of the step in
    bfloat16.
    """
    return tf.ensure_shape(outputs, outputs.shape)


def _by_batch(inputs: Any, scale: Any, offset: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Normalised by the moments of the batch; and its mean and variance, the sum divided by n."""
    found = tf.raw_ops.FusedBatchNormV3(
        x=inputs, scale=scale, offset=offset, mean=[], variance=[], epsilon=epsilon
    )
    count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), tf.float32)
    # Of one value the kernel divides by 0: what it returns then is not looked at.
    variance = tf.math.multiply_no_nan(found.batch_variance, (count - 1) / count)
    return found.y, found.batch_mean, variance


def _frozen(inputs: Any, scale: Any, offset: Any, mean: Any, variance: Any, epsilon: float) -> Any:
    """Normalised by given moments; the gradient in the inputs is the same kernel's.

    TensorFlow's own gradient reads the inputs again and sums up for scale and offset where nobody
    asks for them, as no attack does, and has no deterministic form on GPUs.
    """
    zeros = tf.zeros_like(mean)

    def kernel(values: Any, offset: Any, mean: Any) -> Any:
        return tf.raw_ops.FusedBatchNormV3(
            x=values,
            scale=scale,
            offset=offset,
            mean=mean,
            variance=variance,
            epsilon=epsilon,
            is_training=False,
        ).y

    @tf.custom_gradient
    def normalised(inputs: Any, scale: Any, offset: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, Any, Any]:
            wide = tf.cast(upstream, tf.float32)
            standardised = (tf.cast(inputs, tf.float32) - mean) * tf.math.rsqrt(variance + epsilon)
            sums = (tf.reduce_sum(each, axis=(0, 1, 2)) for each in (wide * standardised, wide))
            return kernel(upstream, zeros, zeros), *sums

        return kernel(inputs, offset, mean), gradient

    return normalised(inputs, scale, offset)
