"""One compiled training step, on one replica or many."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.data.pixels import to_pixels
from clustr_tf.methods.base import Method
from clustr_tf.run.distribution import Replicas

Step = Callable[
    [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor],
    tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor],
]


def build_step(
    classifier: Classifier,
    method: Method,
    optimizer: keras.optimizers.Optimizer,
    augment: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    replicas: Replicas,
    jit_compile: bool = False,
    image_dtype: tf.DType = tf.uint8,
) -> Step:
    """Compiles the training step.

    Each replica trains on its own batch; the gradient is the mean over replicas. With free
    training the batch is replayed: each replay descends the weights and ascends the running
    perturbation with the gradients of one and the same pass.

    Args:
        classifier: the model, created in the strategy's scope.
        method: gives the losses.
        optimizer: already built on the classifier's trainable variables in the strategy's scope
            (creating its slots inside the step fails under a strategy).
        augment: (images in [0, 1], seed) -> images.
        replicas: where the step runs.
        jit_compile: whether XLA compiles losses and gradients.
        image_dtype: uint8, which stand for multiples of 1/255, or float32 in [0, 1].

    Returns:
        A function (images `[batch, H, W, C]`, int64 targets `[batch, 2]`, int32 seed `[2]`,
        float32 running perturbation as from `no_perturbation`, float32 share of the training that
        is done), each a per-replica value, to per-replica values: (remembered losses of all
        replicas' batches, one after another; named means over all replicas; the perturbation for
        the next batch).
    """
    variables = classifier.trainable_variables
    averages = classifier.backbone.non_trainable_variables if replicas.count > 1 else []
    shape = [None, *classifier.image_shape]
    signature = [
        tf.TensorSpec(shape, tf.float32),
        tf.TensorSpec([None, 2], tf.int64),
        tf.TensorSpec([2], tf.int32),
        tf.TensorSpec(shape, tf.float32),
        tf.TensorSpec([], tf.float32),
    ]
    free = method.free

    @tf.function(
        input_signature=[tf.TensorSpec(shape, image_dtype), tf.TensorSpec([2], tf.int32)],
        jit_compile=jit_compile,
        autograph=False,
    )
    def pixels_of(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return augment(to_pixels(images), seed)

    @tf.function(input_signature=signature, jit_compile=jit_compile, autograph=False)
    def losses_and_gradients(
        pixels: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        perturbation: tf.Tensor,
        progress: tf.Tensor,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], list[tf.Tensor], tf.Tensor]:
        if free:
            perturbed = _inside(perturbation[: tf.shape(pixels)[0]], pixels)
        weights = [variable.value for variable in variables]
        with tf.GradientTape() as tape:
            # A weight that was made untrainable, as of a frozen layer, is not watched by itself.
            tape.watch(weights)
            inputs = pixels
            if free:
                tape.watch(perturbed)
                inputs = pixels + perturbed
            losses = method.losses(classifier, inputs, targets, seed, progress)
            # The optimiser sums over replicas.
            loss = tf.reduce_mean(losses.total) / replicas.count
            # Small float16 gradients vanish: the optimizer scales the loss, and them back.
            loss = optimizer.scale_loss(loss)
        parts = {"loss": tf.reduce_mean(losses.total), **losses.parts}
        if not free:
            return losses.remembered, parts, tape.gradient(loss, weights), perturbation
        gradients, ascent = tape.gradient(loss, (weights, perturbed))
        perturbed = _inside(_ascended(perturbed, ascent, free.radius(progress)), pixels)
        unused = perturbation[tf.shape(pixels)[0] :]
        return losses.remembered, parts, gradients, tf.concat([perturbed, unused], axis=0)

    def replica_step(
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        perturbation: tf.Tensor,
        progress: tf.Tensor,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor]:
        augmentation_seed, method_seed = tf.unstack(tf.random.split(seed))
        pixels = pixels_of(images, augmentation_seed)
        for _ in range(free.replays if free else 1):
            remembered, parts, gradients, perturbation = losses_and_gradients(
                pixels, targets, method_seed, perturbation, progress
            )
            optimizer.apply(gradients, variables)
        if averages:
            # Each replica has moved its own copy of batch normalisation's averages.
            for average, mean in zip(averages, replicas.mean(averages), strict=True):
                average.assign(mean)
        means = {name: replicas.mean(value) for name, value in parts.items()}
        return replicas.gather(remembered), means, perturbation

    @tf.function(reduce_retracing=True, autograph=False)
    def step(
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        perturbation: tf.Tensor,
        progress: tf.Tensor,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor]:
        return replicas.strategy.run(
            replica_step, args=(images, targets, seed, perturbation, progress)
        )

    return step


def no_perturbation(method: Method, batch: int, image_shape: tuple[int, ...]) -> np.ndarray:
    """The running perturbation before the first batch.

    Args:
        method: only one with free training has a perturbation.
        batch: the largest batch.
        image_shape: (H, W, C).

    Returns:
        Zeros, float32 `[batch, H, W, C]`; `[0, H, W, C]` without free training.
    """
    return np.zeros([batch if method.free else 0, *image_shape], np.float32)


def _ascended(perturbation: tf.Tensor, gradient: tf.Tensor, eps: tf.Tensor | float) -> tf.Tensor:
    """One sign step of length eps, projected to the eps-ball: Shafahi et al., algorithm 1."""
    return tf.clip_by_value(perturbation + eps * tf.sign(gradient), -eps, eps)


def _inside(perturbation: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """The perturbation cut off where it would leave [0, 1].

    Cutting off the sum instead would leave no gradient to come back by.
    """
    return tf.clip_by_value(perturbation, -pixels, 1 - pixels)
