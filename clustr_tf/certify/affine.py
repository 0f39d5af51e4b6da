"""Certificates of classifiers with an affine head: dense baselines, logits, softmax."""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from clustr_tf.certify.affine_head import LEAST_OF_SOFTMAX, AffineHead, affine_head
from clustr_tf.certify.graph import call_layer, fold_layers, is_reparametrised, plain_network
from clustr_tf.certify.l2.affine import affine_margin
from clustr_tf.certify.l2.lipschitz import LipschitzBound, embed_with_norms
from clustr_tf.certify.layer_rules import check_precision
from clustr_tf.certify.radii import float32_below
from clustr_tf.classifier import Classifier


def split_affine(model: keras.Model) -> tuple[keras.Model, AffineHead]:
    """A classifier as a network and the affine head behind it.

    The last dense layer is the head, a softmax behind it or inside it included; of a model whose
    logits come from another layer the head is the identity. A network with reparametrised layers
    becomes its `plain_network`.

    Args:
        model: a `Classifier` with a dense head, or a Sequential or functional model of logits or
            probabilities `[batch, classes]`.

    Returns:
        Network, images -> `[batch, dim]`, and head.

    Raises:
        ValueError: if the model is not of that form.

    Example:
        >>> network, head = split_affine(keras.models.load_model("logits.keras"))
        >>> lipschitz_bound(network), certified_linf(network, head, images, 0.1)
    """
    if isinstance(model, Classifier):
        network, head = model.embedder, affine_head(model.head)
        if head is None:
            raise ValueError(
                f"layer {model.head.name!r} must be a Dense layer, linear or with a softmax, to be "
                f"an affine head. Received: {type(model.head).__name__}"
            )
    else:
        network, head = _without_head(model)
    return (plain_network(network) if is_reparametrised(network) else network), head


def _without_head(model: keras.Model) -> tuple[keras.Model, AffineHead]:
    visited: list[Any] = []
    fold_layers(model, None, lambda layer, _: visited.append(layer))
    if len(model.output_shape) != 2 or None in model.output_shape[1:]:
        raise ValueError(
            f"network {model.name!r} must give logits or probabilities [batch, classes]. "
            f"Received: an output of shape {model.output_shape}"
        )
    # A layer with one input is visited right after the layer that it reads.
    cut, least = [], 0.0
    if _is_softmax(visited[-1]):
        cut, least = [visited.pop()], LEAST_OF_SOFTMAX
    head = affine_head(visited[-1]) if visited else None
    if head is None or (least and head.least):  # a softmax of a softmax has no bound
        classes = model.output_shape[-1]
        head = AffineHead(np.eye(classes), np.zeros(classes))
    else:
        cut.append(visited[-1])
    inputs = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype)

    def visit(layer: Any, values: list[Any]) -> Any:
        return values[0] if any(layer is one for one in cut) else call_layer(layer, values)

    features = fold_layers(model, inputs, visit)
    network = keras.Model(inputs, features, name=model.name)
    return network, head._replace(least=max(head.least, least))


def _is_softmax(layer: Any) -> bool:
    if type(layer) is layers.Softmax:
        found = layer.axis in (-1, 1)
    else:
        softmax = keras.activations.softmax
        found = type(layer) is layers.Activation and layer.activation is softmax
    if found:
        check_precision(layer)
    return found


class AffineCertificates(NamedTuple):
    """Certificates of a batch; 0 means "abstain".

    Attributes:
        class_id: int64 `[batch]`.
        certified_radius_l2: float32 `[batch]`, in pixels.
        certified_radius_linf: float32 `[batch]`, of the largest l-infinity ball inside that ball.
        logits: float32 `[batch, classes]`.
        embeddings: what the head was given, `[batch, dim]`.
    """

    class_id: Any
    certified_radius_l2: Any
    certified_radius_linf: Any
    logits: Any
    embeddings: Any


def certify_affine(
    network: keras.Model, head: AffineHead, images: Any, bound: LipschitzBound
) -> AffineCertificates:
    """Certified l2 radii of a classifier with an affine head.

    (margin - slack) / (gain + growth), as of clustering heads, with the margin of `affine_margin`.
    The class stays both for logits that are computed in float64 and for those of the float32
    model, its softmax included.

    WARNING: radii hold for l2 changes of images in [0, 1] that keep them there, for these weights
    and in float32, as `lipschitz_bound` says.

    Args:
        network: of `split_affine`.
        head: likewise.
        images: float32 `[batch, H, W, C]` in [0, 1].
        bound: `lipschitz_bound(network)`.

    Returns:
        The certificates.

    Example:
        >>> network, head = split_affine(model)
        >>> certify_affine(network, head, images, lipschitz_bound(network)).certified_radius_l2
    """
    embeddings, norms = embed_with_norms(network, images)
    class_id, margin = affine_margin(embeddings, *head)
    slack = bound.rounding(ops.cast(norms, "float64"))
    radius = ops.maximum(margin - slack, 0) / (bound.gain + bound.growth)
    finite = ops.isfinite(slack) & ops.all(ops.isfinite(embeddings), axis=1)
    radius = ops.where(finite, radius, 0)
    pixels = math.prod(network.input_shape[1:])
    return AffineCertificates(
        class_id,
        float32_below(radius),
        float32_below(radius / math.sqrt(pixels)),
        ops.cast(head.logits(embeddings), "float32"),
        embeddings,
    )
