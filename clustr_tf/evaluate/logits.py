"""The logits of a model that may end in probabilities."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Function = Callable[[tf.Tensor], tf.Tensor]

_ACTIVATIONS = {keras.activations.softmax: "softmax", keras.activations.sigmoid: "sigmoid"}
_MOST_SATURATED = 0.01
_SUM_TOLERANCE = 1e-3
_SMALLEST = float(np.finfo(np.float32).tiny)
_BATCH = 250


@dataclass(frozen=True)
class Logits:
    """What an attack takes for a model.

    Attributes:
        function: images `[batch, H, W, C]` in [0, 1] -> float32 logits `[batch, classes]`.
        notes: what was done to the model's outputs, in sentences.
        trusted: False where the outputs do not show where they lead.
    """

    function: Function
    notes: tuple[str, ...] = ()
    trusted: bool = True


def logits_of(
    model: Callable[..., Any], adapt: Callable[[Function], Function], pixels: np.ndarray
) -> Logits:
    """The logits behind a model's outputs.

    Args:
        model: a Keras model or a function; logits or probabilities `[batch, classes]`, or one
            output an image for two classes.
        adapt: makes a function of the model's own images one of images in [0, 1].
        pixels: float32 `[N, H, W, C]` in [0, 1], on which the outputs are looked at.

    Returns:
        The logits: those before a final softmax or sigmoid where the model shows it, else the
        logarithm of probabilities, else the outputs themselves.

    Raises:
        ValueError: if the model does not give one row of finite numbers an image.

    Example:
        >>> logits_of(model, lambda function: function, images).notes
    """
    outputs = _outputs(adapt(_called(model)), pixels)
    notes, saturated = [], 0.0
    single = outputs.shape[1] == 1
    bare = without_final_activation(model) if isinstance(model, keras.Model) else None
    if bare is not None:
        function = _called(bare[0])
        notes.append(f"The model ends in a {bare[1]}: the logits before it are attacked.")
    elif (kind := _probabilities(outputs)) is not None:
        function, saturated = _logarithm(_called(model), kind == "softmax"), _saturated(outputs)
        notes.append("The outputs are probabilities: their logarithm is attacked.")
    else:
        function = _called(model)
    if saturated > _MOST_SATURATED:
        notes.append(
            f"{saturated:.1%} of the outputs are exactly 0 and 1: rounding has lost their logits, "
            "and attacks find no gradient. Evaluate the logits instead."
        )
    if single:
        notes.append("One output an image: class 1 where its logit is above 0, else class 0.")
        function = _two(function)
    return Logits(adapt(function), tuple(notes), saturated <= _MOST_SATURATED)


def without_final_activation(model: keras.Model) -> tuple[keras.Model, str] | None:
    """A model without the softmax or sigmoid that it ends in.

    Args:
        model: functional or sequential, with one output; the models that it ends in, too.

    Returns:
        A new model that has the same weights, and the activation's name; None where the model does
        not end in one or does not show what it ends in.

    Example:
        >>> without_final_activation(model)[0](images)  # logits
    """
    outputs = _graph_outputs(model)
    if len(outputs) != 1 or len(model.inputs) != 1:
        return None
    (images,), history = model.inputs, outputs[0]._keras_history
    last = history.operation
    before = last._inbound_nodes[history.node_index].input_tensors
    if len(before) != 1:
        return None
    if isinstance(last, keras.Model):
        inner = without_final_activation(last)
        return None if inner is None else (keras.Model(images, inner[0](before[0])), inner[1])
    if type(last).__name__ in ("Softmax", "Sigmoid"):  # a layer, or keras.ops'
        return keras.Model(images, before[0]), type(last).__name__.lower()
    name = _ACTIVATIONS.get(getattr(last, "activation", None))
    if name is None:
        return None
    if isinstance(last, keras.layers.Activation):
        return keras.Model(images, before[0]), name
    linear = type(last).from_config({**last.get_config(), "activation": None})
    bare = keras.Model(images, linear(before[0]))
    linear.set_weights(last.get_weights())
    return bare, name


def _graph_outputs(model: keras.Model) -> list[Any]:
    """Symbolic outputs; none of a subclassed model, or of one that is not built."""
    if not (isinstance(model, keras.Sequential) or type(model).__name__ == "Functional"):
        return []
    return list(model.outputs) if model.built else []


def _called(model: Callable[..., Any]) -> Function:
    """float32 `[batch, classes]`, in inference mode."""
    keywords = {"training": False} if isinstance(model, keras.Model) else {}

    def function(images: tf.Tensor) -> tf.Tensor:
        outputs = tf.cast(tf.convert_to_tensor(model(images, **keywords)), tf.float32)
        return outputs[:, None] if outputs.shape.rank == 1 else outputs

    return function


def _outputs(function: Function, pixels: np.ndarray) -> np.ndarray:
    parts = [
        function(tf.constant(pixels[i : i + _BATCH])).numpy() for i in range(0, len(pixels), _BATCH)
    ]
    outputs = np.concatenate(parts)
    if outputs.ndim != 2 or len(outputs) != len(pixels):
        raise ValueError(
            "model must give one row of logits an image, [batch, classes]. "
            f"Received: shape {outputs.shape} for {len(pixels)} images"
        )
    if not np.isfinite(outputs).all():
        raise ValueError("model must give finite numbers for all images. Received: NaN or infinity")
    return outputs


def _probabilities(outputs: np.ndarray) -> str | None:
    if outputs.min() < 0 or outputs.max() > 1 + _SUM_TOLERANCE:
        return None
    one = outputs.shape[1] > 1 and (abs(outputs.sum(axis=1) - 1) <= _SUM_TOLERANCE).all()
    return "softmax" if one else "sigmoid"


def _saturated(outputs: np.ndarray) -> float:
    """The share of rows that consist of 0 and 1."""
    return float(np.mean(((outputs == 0) | (outputs == 1)).all(axis=1)))


def _logarithm(function: Function, together: bool) -> Function:
    """Log-probabilities, or with separate sigmoids log-odds."""

    def logarithm(values: tf.Tensor) -> tf.Tensor:
        return tf.math.log(tf.maximum(values, _SMALLEST))

    def logits(images: tf.Tensor) -> tf.Tensor:
        probabilities = function(images)
        log_odds = logarithm(probabilities) - logarithm(1 - probabilities)
        return logarithm(probabilities) if together else log_odds

    return logits


def _two(function: Function) -> Function:
    """One logit as those of two classes, `[batch, 1]` -> `[batch, 2]`."""
    return lambda images: tf.pad(function(images), [[0, 0], [1, 0]])
