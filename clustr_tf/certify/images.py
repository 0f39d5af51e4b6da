"""Certified radii, and certified accuracy, of a data set."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from clustr_tf.certify.l2.lipschitz import LipschitzBound, embed_with_norms, lipschitz_bound
from clustr_tf.certify.linf.interval import certified_linf, has_interval_bounds
from clustr_tf.certify.radii import (
    Proof,
    certified_classifier,
    head_geometry,
    prove,
    soft_score_proof,
)
from clustr_tf.classifier import Classifier
from clustr_tf.data.pixels import to_pixels

# Enough to occupy all cores; more would only take more memory.
_BATCH = 500


@dataclass(frozen=True)
class ProvedRadii:
    """What one proof says of a data set, one entry an image.

    Attributes:
        proof: which classifier, and how.
        labels: int64 `[N]`.
        predictions: int64 `[N]`, the classifier's classes.
        radius_l2: float32 `[N]`, certified l2 radius in pixels; 0: abstains.
        seconds: for all images, without the embedding.
    """

    proof: Proof
    labels: np.ndarray
    predictions: np.ndarray
    radius_l2: np.ndarray
    seconds: float

    @property
    def correct(self) -> np.ndarray:
        """Which images are classified correctly, bool `[N]`."""
        return self.predictions == self.labels

    @property
    def abstentions(self) -> float:
        """Share of images without a positive radius."""
        return float(np.mean(self.radius_l2 == 0))

    def certified_accuracy(self, radius: float) -> float:
        """Share of images that are correct and certified at least up to an l2 radius in pixels."""
        # In float64: NumPy would round the radius asked for to float32, perhaps below what it is.
        proved = self.radius_l2.astype(np.float64)
        return float(np.mean(self.correct & (proved > 0) & (proved >= radius)))


@dataclass(frozen=True)
class Certification:
    """Certified radii of a data set.

    Attributes:
        proved: one for each proof; the first is what the model serves.
        num_pixels: H * W * C.
        embedding_seconds: of the one pass that all of them rest on.
        bound: Lipschitz bound and rounding that the radii rest on.
    """

    proved: tuple[ProvedRadii, ...]
    num_pixels: int
    embedding_seconds: float
    bound: LipschitzBound

    @property
    def main(self) -> ProvedRadii:
        """What the model serves."""
        return self.proved[0]


def certify_images(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    proofs: Sequence[Proof] | None = None,
) -> Certification:
    """Certifies a data set; embeds it once, whatever the number of proofs.

    WARNING: the radii hold for l2 (and by norm equivalence l-infinity) changes of images in
    [0, 1], for these weights and for what is served: the network of `certified_classifier`
    (float32; float64 for backbones that are 1-Lipschitz by construction) and the float64 head. They
    say nothing about other norms, other inputs, changed weights, TensorFloat-32 or lower precision,
    nor of model.keras where it computes in less: see docs/certificates.md.

    Args:
        classifier: with a clustering head.
        images: uint8 `[N, H, W, C]`.
        labels: int64 `[N]`.
        proofs: of `all_proofs`; None for the soft scores with the head's own L alone.

    Returns:
        Radii and predictions, of the `certified_classifier`.

    Raises:
        ValueError: if the head has no certificate or the network has a layer without a proved
            bound.

    Example:
        >>> certify_images(classifier, dataset.test_images, dataset.test_labels).main.radius_l2
    """
    classifier = certified_classifier(classifier)
    head = classifier.head
    bound = lipschitz_bound(classifier.embedder)
    proofs = proofs or [soft_score_proof(head.ranked_clusters)]
    batches = _batches(len(images))
    begin = time.perf_counter()
    parts = [embed_with_norms(classifier.embedder, to_pixels(images[batch])) for batch in batches]
    embeddings, norms = (ops.concatenate(column) for column in zip(*parts, strict=True))
    embedding_seconds = time.perf_counter() - begin
    exact = any(proof.method == "exact" for proof in proofs)
    geometry = head_geometry(head, "exact" if exact else "pairwise")
    shapes = [tf.TensorSpec((None, part.shape[1]), part.dtype) for part in (embeddings, norms)]

    def proved(proof: Proof) -> ProvedRadii:
        def radii(embeddings: Any, norms: Any) -> tuple[Any, Any]:
            ranked, variance = head.ranked_clusters, head.variance
            return prove(proof, embeddings, norms, geometry, variance, ranked, bound)

        # A graph a proof: called as tf.functions, TensorFlow would warn of retracing.
        apply = tf.function(radii, shapes, autograph=False).get_concrete_function()
        # What the first call prepares is no part of the time of an image.
        apply(embeddings[:1], norms[:1])
        begin = time.perf_counter()
        parts = [apply(embeddings[batch], norms[batch]) for batch in batches]
        predictions, radius = (np.concatenate(column) for column in zip(*parts, strict=True))
        return ProvedRadii(proof, labels, predictions, radius, time.perf_counter() - begin)

    return Certification(
        tuple(map(proved, proofs)), math.prod(classifier.image_shape), embedding_seconds, bound
    )


def certified_share(
    prove: Callable[[tf.Tensor], tuple[Any, Any]], images: np.ndarray, labels: np.ndarray
) -> float:
    """Share of images that are classified correctly and whose class is proved to stay.

    Args:
        prove: float32 pixels `[batch, H, W, C]` -> classes `[batch]`, whether proved `[batch]`.
        images: uint8 `[N, H, W, C]`.
        labels: int64 `[N]`.

    Returns:
        The share.

    Example:
        >>> certified_share(lambda pixels: prove_all(pixels, eps=0.1), images, labels)
    """
    count = 0
    for batch in _batches(len(images)):
        predicted, certified = prove(tf.constant(to_pixels(images[batch])))
        count += int(np.sum(certified.numpy() & (predicted.numpy() == labels[batch])))
    return count / len(images)


def certified_accuracy_linf(
    classifier: Classifier, images: np.ndarray, labels: np.ndarray, eps: float
) -> float | None:
    """Share of images that are correct and provably stay so in an l-infinity ball.

    WARNING: of the soft classifier, as `certified_linf` says.

    Args:
        classifier: with a clustering head.
        images: uint8 `[N, H, W, C]`.
        labels: int64 `[N]`.
        eps: in pixels.

    Returns:
        The share; None if the network has a layer without interval bounds.

    Example:
        >>> certified_accuracy_linf(classifier, dataset.test_images, dataset.test_labels, 0.1)
    """
    if not has_interval_bounds(classifier.embedder):
        return None
    prove = tf.function(
        lambda pixels: certified_linf(classifier.embedder, classifier.head, pixels, eps)[:2],
        input_signature=[tf.TensorSpec([None, *classifier.image_shape], tf.float32)],
        autograph=False,
    )
    return certified_share(prove, images, labels)


def _batches(count: int) -> list[slice]:
    """`count` images in parts of at most _BATCH."""
    return [slice(start, start + _BATCH) for start in range(0, count, _BATCH)]
