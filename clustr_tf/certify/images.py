"""Certified radii, and certified accuracy, of a data set."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from clustr_tf.certify.certifier import Certifier, batch_slices, sources_of
from clustr_tf.certify.l2.lipschitz import LipschitzBound, embed_with_norms
from clustr_tf.certify.linf.search import BISECTION, RadiusSearch
from clustr_tf.certify.radii import (
    Proof,
    Radii,
    certified_classifier,
    head_geometry,
    prove,
)
from clustr_tf.classifier import Classifier
from clustr_tf.data.image_store import Images
from clustr_tf.data.pixels import to_pixels


@dataclass(frozen=True)
class ProvedRadii:
    """What a proof says of a data set, one entry an image.

    Attributes:
        key: for names of arrays and entries of files.
        title: which classifier, and which proof.
        labels: int64 `[N]`.
        predictions: int64 `[N]`, the classifier's classes.
        radii: float32 `[N]` each, in pixels; 0: abstains.
        seconds: for all images; of a single proof without the embedding.
    """

    key: str
    title: str
    labels: np.ndarray
    predictions: np.ndarray
    radii: Radii
    seconds: float

    @property
    def correct(self) -> np.ndarray:
        """Which images are classified correctly, bool `[N]`."""
        return self.predictions == self.labels

    @property
    def abstentions(self) -> float:
        """Share of images without a positive radius."""
        return float(np.mean(self.radii.l2 == 0))

    def certified_accuracy(self, radius: float, norm: str = "l2") -> float:
        """Share of images that are correct and certified at least up to a radius in pixels."""
        # In float64: NumPy would round the radius asked for to float32, perhaps below what it is.
        proved = getattr(self.radii, norm).astype(np.float64)
        return float(np.mean(self.correct & (proved > 0) & (proved >= radius)))


@dataclass(frozen=True)
class Certification:
    """Certified radii of a data set.

    Attributes:
        best: by the proof that proves most of each image; what the model serves.
        proved: by each proof of the served classifier alone.
        further: the proofs that were asked for besides, some of other classifiers.
        num_pixels: H * W * C.
        bound: Lipschitz bound and rounding that the radii rest on.
    """

    best: ProvedRadii
    proved: tuple[ProvedRadii, ...]
    further: tuple[ProvedRadii, ...]
    num_pixels: int
    bound: LipschitzBound

    def sources(self, norm: str) -> np.ndarray:
        """Which proof the best radius of each image is by; see `sources_of`."""
        proved = {each.title: each.radii for each in self.proved}
        return sources_of(self.best.radii, proved, norm)


def certify_images(
    classifier: Classifier,
    images: Images,
    labels: np.ndarray,
    proofs: Sequence[Proof] = (),
    search: RadiusSearch | None = BISECTION,
    relaxation: bool = False,
) -> Certification:
    """Certifies a data set by every proof that applies.

    WARNING: the radii hold for changes of images in [0, 1], for these weights and for what is
    served: the network of `certified_classifier` (float32; float64 for backbones that are
    1-Lipschitz by construction) and the float64 head. They say nothing about other norms, other
    inputs, changed weights, TensorFloat-32 or lower precision, nor of model.keras where it
    computes in less: see docs/certificates.md.

    Args:
        classifier: as for `Certifier`.
        images: uint8 `[N, H, W, C]`.
        labels: int64 `[N]`.
        proofs: of `all_proofs`, which are made one by one besides; of clustering heads alone.
        search: as for `Certifier`.
        relaxation: likewise.

    Returns:
        Radii and predictions, of the `certified_classifier`.

    Raises:
        ValueError: as `Certifier`.

    Example:
        >>> certify_images(classifier, dataset.test_images, dataset.test_labels).best.radii.l2
    """
    if proofs:
        classifier = certified_classifier(classifier)  # made once, for all proofs
    certifier = Certifier(classifier, search, relaxation)
    begin = time.perf_counter()
    predictions, best, proved = certifier.in_batches(images)
    seconds = time.perf_counter() - begin

    def named(name: str, radii: Radii) -> ProvedRadii:
        key = name.replace(" ", "_").lower()
        return ProvedRadii(key, name, labels, predictions, radii, seconds)

    return Certification(
        named("best proof", best),
        tuple(named(name, radii) for name, radii in proved.items()),
        _one_by_one(classifier, images, labels, proofs, certifier.bound) if proofs else (),
        certifier.num_pixels,
        certifier.bound,
    )


def _one_by_one(
    classifier: Classifier,
    images: Images,
    labels: np.ndarray,
    proofs: Sequence[Proof],
    bound: LipschitzBound,
) -> tuple[ProvedRadii, ...]:
    """Each classifier and proof that rests on the Lipschitz bound; embeds once for all."""
    head, batches = classifier.head, batch_slices(len(images))
    parts = [
        embed_with_norms(classifier.embedder, tf.constant(to_pixels(images[batch])))
        for batch in batches
    ]
    embeddings, norms = (ops.concatenate(column) for column in zip(*parts, strict=True))
    exact = any(proof.method == "exact" for proof in proofs)
    geometry = head_geometry(head, "exact" if exact else "pairwise")
    shapes = [tf.TensorSpec((None, part.shape[1]), part.dtype) for part in (embeddings, norms)]
    scale = np.sqrt(math.prod(classifier.image_shape))

    def proved(proof: Proof) -> ProvedRadii:
        def radii(embeddings: Any, norms: Any) -> tuple[Any, Any]:
            ranked, variance = head.ranked_clusters, head.variance
            return prove(proof, embeddings, norms, geometry, variance, ranked, bound)

        # A graph a proof: called as tf.functions, TensorFlow would warn of retracing.
        apply = tf.function(radii, shapes, autograph=False).get_concrete_function()
        apply(embeddings[:1], norms[:1])
        begin = time.perf_counter()
        parts = [apply(embeddings[batch], norms[batch]) for batch in batches]
        predictions, l2 = (np.concatenate(column) for column in zip(*parts, strict=True))
        seconds = time.perf_counter() - begin
        # Rounded towards zero, as a radius is.
        linf = np.nextafter((l2.astype(np.float64) / scale).astype(np.float32), np.float32(0))
        return ProvedRadii(proof.key, proof.title, labels, predictions, Radii(l2, linf), seconds)

    return tuple(map(proved, proofs))


def certified_share(
    prove: Callable[[tf.Tensor], tuple[Any, Any]], images: Images, labels: np.ndarray
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
    for batch in batch_slices(len(images)):
        predicted, certified = prove(tf.constant(to_pixels(images[batch])))
        count += int(np.sum(certified.numpy() & (predicted.numpy() == labels[batch])))
    return count / len(images)
