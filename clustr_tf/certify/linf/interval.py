"""Certified l-infinity balls by interval bounds: boxes of pixels to boxes of embeddings."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from clustr_tf.certify.affine_head import AffineHead, affine_head
from clustr_tf.certify.graph import call_layer, fold_layers
from clustr_tf.certify.layer_rules import SMALLEST_NORMAL, UNIT_ROUNDOFF, rule_for
from clustr_tf.certify.linf.boxes import LAYER_BOXES, Box, layer_box, normalised
from clustr_tf.certify.linf.head import (
    affine_margins,
    nearest_cluster_margins,
    soft_score_margins,
    worst_differences,
)
from clustr_tf.certify.linf.search import BISECTION, RadiusSearch, largest_proved
from clustr_tf.layers.clustering_head import ClusteringHead, class_log_scores
from clustr_tf.layers.distances import squared_distances

# (network, float64 images, eps) -> what is known of the embeddings of their eps-balls.
Bounds = Callable[[keras.Model, Any, Any], "EmbeddingBounds"]

_FLOAT64 = UNIT_ROUNDOFF["float64"]
# Far above the rounding of a float64 logsumexp, here and in the head that is served.
_LEAST_MARGIN = 1e-9


class LinfCertificates(NamedTuple):
    """What is proved of every image in an l-infinity ball.

    Attributes:
        class_id: int64 `[batch]`, the soft classifier's class.
        certified: bool `[batch]`, whether the soft classifier's class provably stays.
        nearest_cluster_certified: bool `[batch]`, whether the nearest cluster provably stays one
            of that class; of an affine head the same as `certified`.
    """

    class_id: Any
    certified: Any
    nearest_cluster_certified: Any


class EmbeddingBounds(NamedTuple):
    """What is known of the float32 embeddings of a set of images.

    Attributes:
        box: float64, of every entry.
        lower: rows `[batch, rows, dim]` -> `[batch, rows]`, the least that rows.z can be, rounded
            downwards; None where only the box is known.
    """

    box: Box
    lower: Callable[[Any], Any] | None = None


def image_box(images: Any, eps: Any, roundoff: float = 0.0) -> Box:
    """All images in [0, 1] within eps of each pixel.

    Args:
        images: `[batch, H, W, C]` in [0, 1].
        eps: in pixels; one number, or `[batch]`.
        roundoff: unit roundoff of the images' dtype, to be sound; 0 leaves rounding out.

    Returns:
        The box, in the dtype of the images.

    Example:
        >>> image_box([[[[0.95]]]], 0.1)  # Box([[[[0.85]]]], [[[[1.0]]]])
    """
    images = ops.convert_to_tensor(images)
    eps = ops.reshape(ops.convert_to_tensor(eps, dtype=images.dtype), (-1, 1, 1, 1))
    reach = eps + 2 * roundoff
    return Box(ops.clip(images - reach, 0, 1), ops.clip(images + reach, 0, 1))


def has_interval_bounds(network: keras.Model) -> bool:
    """Whether `embedding_box` knows the layers of a network.

    Args:
        network: functional.

    Returns:
        Whether all are of types in `LAYER_BOXES`; their options and precision are another matter.

    Raises:
        ValueError: if the network is not of the form that `fold_layers` walks through.

    Example:
        >>> has_interval_bounds(classifier.embedder)
    """
    types: set[type] = set()
    fold_layers(network, None, lambda layer, _: types.add(type(layer)))
    return types <= LAYER_BOXES.keys()


def embedding_box(network: keras.Model, box: Box) -> Box:
    """The box of the float32 embeddings of a box of float32 images.

    Layer by layer: if every entry of a layer's float32 inputs lies in their boxes, then every
    entry of its float32 output lies in the box of `layer_box`, which adds the rounding of the
    layer to that of everything before it (see `affine_image`). The pixels lie in theirs. The boxes
    themselves are computed in float64, whose rounding is covered as well.

    WARNING: this holds for inference, for these very weights and for IEEE float32 (or float64)
    products and sums, each layer evaluated as written. It does not cover TensorFloat-32, bfloat16,
    float16, Winograd or Fourier convolutions, or weights folded into one another. Underflow is
    covered; an image of whose box some value may leave float32's range has an infinite box.

    Args:
        network: a functional model of layers known to `layer_box` and nested functional
            models; images `[batch, H, W, C]` -> `[batch, dim]`.
        box: float64, of the images, as of `image_box` with a roundoff.

    Returns:
        float64 box of the embeddings.

    Raises:
        ValueError: if the network is not of that form, or a layer has no interval bounds or
            computes in less than float32.

    Example:
        >>> embedding_box(classifier.embedder, image_box(images, 0.1, UNIT_ROUNDOFF["float64"]))
    """

    def visit(layer: Any, inputs: list[Box]) -> Box:
        return layer_box(layer, inputs, UNIT_ROUNDOFF["float32"])

    return fold_layers(network, box, visit)


def interval_bounds(network: keras.Model, images: Any, eps: Any) -> EmbeddingBounds:
    """The embeddings of an l-infinity ball by `embedding_box`.

    WARNING: as `embedding_box`.

    Args:
        network: as for `embedding_box`.
        images: float64 `[batch, H, W, C]` in [0, 1].
        eps: in pixels; one number, or `[batch]`.

    Returns:
        Their box alone.

    Raises:
        ValueError: as `embedding_box`.

    Example:
        >>> certified_linf(classifier.embedder, classifier.head, images, 0.1, interval_bounds)
    """
    return EmbeddingBounds(embedding_box(network, image_box(images, eps, _FLOAT64)))


def embed_with_box(network: keras.Model, images: Any, box: Box) -> tuple[Any, Box]:
    """Embeddings in training mode and, by one and the same pass, boxes around them: for training.

    Batch normalisation of the boxes takes the statistics of the batch of clean images, not of the
    boxes: the boxes are those of the very function that the clean images went through, clean
    losses and moving averages are those of ordinary training, and every bound is tight around
    them. Dropout leaves the boxes alone. Rounding is left out. Differentiable.

    Args:
        network: as for `embedding_box`, in any precision.
        images: `[batch, H, W, C]`.
        box: of images, as of `image_box`; float32.

    Returns:
        Embeddings `[batch, dim]` in the network's precision and their float32 box.

    Raises:
        ValueError: if the network is not of that form, or a layer has no interval bounds.

    Example:
        >>> embeddings, box = embed_with_box(network, images, image_box(images, 0.1))

    Reference:
        Gowal et al., arXiv 1810.12715 (training with interval bounds; without normalisation).
    """

    def visit(layer: Any, inputs: list[tuple[Any, Box]]) -> tuple[Any, Box]:
        rule_for(layer, LAYER_BOXES, "interval bounds")
        tensors, boxes = [tensor for tensor, _ in inputs], [box for _, box in inputs]
        outputs = call_layer(layer, tensors, training=True)
        if not isinstance(layer, keras.layers.BatchNormalization):
            return outputs, layer_box(layer, boxes, 0.0)
        clean = ops.cast(tensors[0], boxes[0].lower.dtype)
        mean, variance = ops.moments(clean, axes=list(range(len(clean.shape) - 1)))
        return outputs, normalised(layer, boxes[0], mean, variance, 0.0)

    return fold_layers(network, (images, box), visit)


def certified_linf(
    network: keras.Model,
    head: Any,
    images: Any,
    eps: Any,
    bounds: Bounds = interval_bounds,
) -> LinfCertificates:
    """Which images provably keep their class under every l-infinity change of at most eps.

    The box of pixels becomes a box of float32 embeddings (`embedding_box`); over it the worst case
    of the head is closed form (`worst_differences`, `affine_margins`), in float64 and rounded
    downwards.

    WARNING: this holds for changes that keep pixels in [0, 1], of images in [0, 1], and for the
    classifier that computes its network in float32 as `embedding_box` says and its head in float64,
    as certificates and the SavedModel do; where two log-scores differ by less than their float32
    rounding, the float32 head of a Keras model may decide otherwise. It says nothing about other
    norms, changed weights or lower precision.

    Args:
        network: as for `embedding_box`.
        head: with its clusters; or an `AffineHead`, or a dense layer that is one, whose logits may
            be computed in float32 or float64.
        images: float32 `[batch, H, W, C]` in [0, 1].
        eps: in pixels; one number, or `[batch]`.
        bounds: `interval_bounds`, or `linear_bounds`: never less, at a multiple of the cost.

    Returns:
        Classes and what is proved of them: nothing of an image that is not in [0, 1], and nothing
        where eps is negative.

    Raises:
        ValueError: if the head or the network are not as above.

    Example:
        >>> certified_linf(classifier.embedder, classifier.head, images, 0.1).certified

    Reference:
        Gowal et al., arXiv 1810.12715, for dense heads.
    """
    images = ops.convert_to_tensor(images, dtype="float32")
    return _prover(network, head, images, bounds, network(images, training=False))[1](eps)


def _prover(
    network: keras.Model, head: Any, images: Any, bounds: Bounds, embeddings: Any
) -> tuple[Any, Callable[[Any], LinfCertificates]]:
    """Classes, and eps -> what is proved of them; what does not depend on eps is done once."""
    embeddings = ops.cast(embeddings, "float64")
    labels, prove = _proof_of(head, embeddings)
    class_id = ops.cast(labels, "int64")
    # Not-a-number could be lost on its way, in maxima. Other pixels' boxes do not hold the image.
    sound = (
        ops.all(ops.isfinite(embeddings), axis=1)
        & ops.all([ops.all(ops.isfinite(weight)) for weight in network.weights])
        & ops.all((images >= 0) & (images <= 1), axis=(1, 2, 3))
    )

    def proved(eps: Any) -> LinfCertificates:
        known = bounds(network, ops.cast(images, "float64"), eps)
        valid = sound & known.box.is_finite & (ops.convert_to_tensor(eps, dtype="float64") >= 0)
        soft, nearest = (valid & each for each in prove(known))
        return LinfCertificates(class_id, soft, nearest)

    return class_id, proved


# What is known of the embeddings -> whether the class stays, whether the nearest cluster's does.
_Prove = Callable[[EmbeddingBounds], tuple[Any, Any]]


def _proof_of(head: Any, embeddings: Any) -> tuple[Any, _Prove]:
    """Classes of the embeddings, and what proves that they stay."""
    if isinstance(head, ClusteringHead):
        return _proof_of_clusters(head, embeddings)
    affine = head if isinstance(head, AffineHead) else affine_head(head)
    if affine is None:
        raise ValueError(
            "head must be a ClusteringHead or a Dense layer, linear or with a softmax: others have "
            f"no interval bounds here. Received: {type(head).__name__}"
        )
    return _proof_of_affine(affine, embeddings)


def _proof_of_clusters(head: ClusteringHead, embeddings: Any) -> tuple[Any, _Prove]:
    clusters, ranked = head.clusters_per_class, head.ranked_clusters
    centroids = ops.cast(ops.convert_to_tensor(head.centroids), "float64")
    variance = ops.cast(ops.convert_to_tensor(head.variance), "float64")
    distances = squared_distances(embeddings, centroids)
    labels = ops.argmax(class_log_scores(distances, variance, clusters, ranked), axis=1)
    usable = ops.all(ops.isfinite(centroids)) & ops.isfinite(variance)
    usable &= variance >= SMALLEST_NORMAL  # below it may be flushed to 0

    def prove(known: EmbeddingBounds) -> tuple[Any, Any]:
        differences = worst_differences(
            known.box, centroids, labels, clusters, _FLOAT64, known.lower
        )
        soft = soft_score_margins(differences, labels, variance, clusters, ranked)
        nearest = nearest_cluster_margins(differences, labels, clusters)
        return usable & (soft > _LEAST_MARGIN), usable & (nearest > 0)

    return labels, prove


def _proof_of_affine(head: AffineHead, embeddings: Any) -> tuple[Any, _Prove]:
    labels = ops.argmax(head.logits(embeddings), axis=1)
    float32 = UNIT_ROUNDOFF["float32"]
    finite = ops.all(ops.isfinite(head.kernel)) & ops.all(ops.isfinite(head.bias))

    def prove(known: EmbeddingBounds) -> tuple[Any, Any]:
        margins = affine_margins(known.box, head.kernel, head.bias, labels, float32, known.lower)
        stays = finite & (margins > head.least)
        return stays, stays

    return labels, prove


def interval_radius(
    network: keras.Model,
    head: Any,
    images: Any,
    search: RadiusSearch = BISECTION,
    nearest_cluster: bool = False,
    bounds: Bounds = interval_bounds,
    known: Any = None,
    embeddings: Any = None,
) -> tuple[Any, Any]:
    """The largest l-infinity radius that `certified_linf` proves, searched for each image.

    WARNING: as `certified_linf`.

    Args:
        network: as for `certified_linf`.
        head: likewise.
        images: likewise.
        search: which radii are tested; see `largest_proved`.
        nearest_cluster: whether of the nearest-cluster classifier instead of the soft scores.
        bounds: as for `certified_linf`; with linear ones no radius is smaller.
        known: radii that are proved already, as for `largest_proved`.
        embeddings: the network's own of these images; None to compute them.

    Returns:
        int64 `[batch]`, the soft classifier's class, and float64 `[batch]` in pixels; 0 where
        nothing is proved.

    Raises:
        ValueError: as `certified_linf`.

    Example:
        >>> class_id, radius = interval_radius(classifier.embedder, classifier.head, images)
    """
    images = ops.convert_to_tensor(images, dtype="float32")
    if embeddings is None:
        embeddings = network(images, training=False)
    class_id, certificates = _prover(network, head, images, bounds, embeddings)

    def proved(eps: Any) -> Any:
        found = certificates(eps)
        return found.nearest_cluster_certified if nearest_cluster else found.certified

    return class_id, largest_proved(proved, ops.shape(images)[0], search, known)
