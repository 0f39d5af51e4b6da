"""What the workdir's own model answers: what a server of it is compared with."""

from typing import Any

import numpy as np
import tensorflow as tf

from clustr_tf.certificates import lipschitz_bound
from clustr_tf.certification import certified_classifier, certify_batch, head_geometry
from clustr_tf.classifier import Classifier
from export.transport import Arrays


class Model:
    """What the workdir's own model answers.

    Args:
        classifier: of the workdir.

    Raises:
        ValueError: if it has no certificate.
    """

    def __init__(self, classifier: Classifier):
        self._classifier = certified_classifier(classifier)
        self._bound = lipschitz_bound(self._classifier.embedder)
        self._geometry = head_geometry(self._classifier.head)
        self.image_shape = self._classifier.image_shape

    def images(self, count: int) -> np.ndarray:
        """Random 8-bit images, float32 `[count, H, W, C]` in [0, 1]."""
        values = np.random.default_rng(count).integers(0, 256, (count, *self.image_shape))
        return (values / 255).astype(np.float32)

    def encoded(self, images: np.ndarray) -> np.ndarray:
        """PNG files of 8-bit images."""
        values = np.empty(len(images), object)
        values[:] = [tf.io.encode_png(np.uint8(np.rint(255 * image))).numpy() for image in images]
        return values

    def photographs(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """JPEG files of random images, and the pixels that TensorFlow's decoder finds in them."""
        files = np.empty(count, object)
        files[:] = [
            tf.io.encode_jpeg(np.uint8(np.rint(255 * image))).numpy()
            for image in self.images(count)
        ]
        decoded = np.stack([tf.io.decode_jpeg(file).numpy() for file in files])
        return files, decoded.astype(np.float32) / np.float32(255)

    def answers(self, images: np.ndarray) -> Arrays:
        """Every output of every signature, for radii of 0."""
        embeddings, found = certify_batch(self._classifier, images, self._bound, self._geometry)
        named: dict[str, Any] = found._asdict()
        log_scores = named.pop("log_scores")
        del named["nearest_cluster_radius_l2"]
        named["probabilities"] = tf.nn.softmax(log_scores)
        named["embeddings"] = tf.cast(embeddings, tf.float32)
        named["is_certified"] = found.certified_radius_l2 > 0
        return {name: np.array(values) for name, values in named.items()}
