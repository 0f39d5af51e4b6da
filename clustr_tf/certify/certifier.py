"""Every proof that applies to a model, prepared once, and the best of them for each image."""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from clustr_tf.certify.affine import certify_affine, split_affine
from clustr_tf.certify.l2.lipschitz import lipschitz_bound
from clustr_tf.certify.linf.search import BISECTION, RadiusSearch
from clustr_tf.certify.radii import (
    LIPSCHITZ,
    Radii,
    certified_classifier,
    certify_batch,
    head_geometry,
    with_boxes,
)
from clustr_tf.classifier import Classifier
from clustr_tf.data.pixels import to_pixels
from clustr_tf.layers import ClusteringHead

NO_PROOF = "nothing"
# Enough to occupy all cores; more would only take more memory.
_BATCH = 250
_RELAXED_BATCH = 25


class Certified(NamedTuple):
    """What is proved of a batch.

    Attributes:
        class_id: int64 `[batch]`.
        best: the largest radii that any proof gives.
        proved: by name, the radii of each proof alone.
    """

    class_id: Any
    best: Radii
    proved: dict[str, Radii]


class Certifier:
    """Certifies images by every proof that applies to a model.

    WARNING: as `certify_batch` and `certify_affine`: of these weights, as they are now, in IEEE
    float32, for changes of images in [0, 1] that keep them there. Of a backbone that is 1-Lipschitz
    by construction the network of `certified_classifier`, in float64, is certified. Images of a
    wider type are rounded to float32 before: the radii are around what they then are.

    Args:
        model: a `Classifier`, or a functional or Sequential Keras model, images in [0, 1]
            `[batch, H, W, C]` -> logits or probabilities `[batch, classes]`.
        search: for the largest radius by interval bounds; None for the Lipschitz bound alone.
        relaxation: whether linear relaxation goes on from there: some tens of milliseconds for
            each of 16 radii of an image of a small network.

    Attributes:
        bound: Lipschitz bound and rounding.
        image_shape: (H, W, C).

    Raises:
        ValueError: if a layer or the head has no proof; the message names it.

    Example:
        >>> Certifier(classifier)(images).best.linf
    """

    def __init__(
        self,
        model: keras.Model,
        search: RadiusSearch | None = BISECTION,
        relaxation: bool = False,
    ):
        self._how = (search, relaxation)
        self._batch = _RELAXED_BATCH if relaxation else _BATCH
        if isinstance(model, Classifier) and isinstance(model.head, ClusteringHead):
            self._classifier: Classifier | None = certified_classifier(model)
            self._network = self._classifier.embedder
            self._geometry = head_geometry(self._classifier.head)
        else:
            self._classifier = None
            self._network, self._head = split_affine(model)
        self.bound = lipschitz_bound(self._network)
        self.image_shape: tuple[int, int, int] = self._network.input_shape[1:]

    @property
    def num_pixels(self) -> int:
        """H * W * C."""
        return math.prod(self.image_shape)

    def __call__(self, images: Any) -> Certified:
        """Certifies a batch.

        Args:
            images: float32 `[batch, H, W, C]` in [0, 1].
        """
        images = ops.convert_to_tensor(images, dtype="float32")
        if self._classifier is not None:
            _, found = certify_batch(
                self._classifier, images, self.bound, self._geometry, "pairwise", *self._how
            )
            best = Radii(found.certified_radius_l2, found.certified_radius_linf)
            return Certified(found.class_id, best, found.proved)
        affine = certify_affine(self._network, self._head, images, self.bound)
        lipschitz = Radii(affine.certified_radius_l2, affine.certified_radius_linf)
        best, proved = with_boxes(
            {LIPSCHITZ: lipschitz},
            self._network,
            self._head,
            images,
            affine.embeddings,
            *self._how,
        )
        return Certified(affine.class_id, best, proved)

    def in_batches(self, images: Any) -> Certified:
        """Certifies any number of images, in NumPy.

        Args:
            images: uint8, or floats in [0, 1], `[N, H, W, C]`, N at least 1.
        """
        pixels = tf.TensorSpec((None, *self.image_shape), tf.float32)
        apply = tf.function(self, [pixels], autograph=False).get_concrete_function()
        parts = [
            apply(tf.constant(to_pixels(images[batch]), tf.float32))
            for batch in batch_slices(len(images), self._batch)
        ]
        return tf.nest.map_structure(lambda *part: np.concatenate(part), *parts)


class CertifiedRadii(NamedTuple):
    """Certified radii of images, in pixels; 0 where nothing is proved.

    Attributes:
        class_id: int64 `[N]`.
        l2: float32 `[N]`.
        linf: float32 `[N]`.
        proof_l2: str `[N]`, the proof that gave it; "nothing" where it is 0.
        proof_linf: likewise.
    """

    class_id: np.ndarray
    l2: np.ndarray
    linf: np.ndarray
    proof_l2: np.ndarray
    proof_linf: np.ndarray


def certified_radii(model: keras.Model, images: Any, relaxation: bool = False) -> CertifiedRadii:
    """The radii inside which the classes of images provably stay, by the best of all proofs.

    WARNING: as `Certifier`.

    Args:
        model: as for `Certifier`.
        images: uint8, or floats in [0, 1], `[N, H, W, C]`, N at least 1.
        relaxation: as for `Certifier`.

    Returns:
        Classes, radii and proofs.

    Raises:
        ValueError: if the model has no proof, or the images are not as above.

    Example:
        >>> certified_radii(keras.models.load_model("mine.keras"), images).linf
    """
    certifier = Certifier(model, relaxation=relaxation)
    images = np.asarray(images)
    if images.shape[1:] != certifier.image_shape or not len(images):
        raise ValueError(
            f"images must be [N, {', '.join(map(str, certifier.image_shape))}], N at least 1. "
            f"Received: shape {images.shape}"
        )
    if images.dtype != np.uint8 and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            f"images must be uint8, or in [0, 1]. Received: {images.min()} to {images.max()}"
        )
    found = certifier.in_batches(images)
    sources = [sources_of(found.best, found.proved, norm) for norm in Radii._fields]
    return CertifiedRadii(found.class_id, *found.best, *sources)


def batch_slices(count: int, size: int = _BATCH) -> list[slice]:
    """`count` images in batches of at most `size`.

    Example:
        >>> batch_slices(5, 2)  # 0 and 1, 2 and 3, 4
    """
    return [slice(start, start + size) for start in range(0, count, size)]


def sources_of(best: Radii, proved: dict[str, Radii], norm: str) -> np.ndarray:
    """Which proof gave each radius.

    Args:
        best: of images, in NumPy.
        proved: by name, likewise.
        norm: "l2" or "linf".

    Returns:
        Names `[N]`, the first of those that gave as much; `NO_PROOF` where the radius is 0.
    """
    radii = getattr(best, norm)
    by = [(radii > 0) & (getattr(each, norm) == radii) for each in proved.values()]
    return np.select(by, list(proved), NO_PROOF)
