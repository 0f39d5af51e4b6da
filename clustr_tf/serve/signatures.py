"""What an exported classifier answers: the signatures."""

from typing import Any

import tensorflow as tf

from clustr_tf.certify.l2.lipschitz import LipschitzBound
from clustr_tf.certify.linf.search import SEARCHES
from clustr_tf.certify.radii import certified_classifier, certify_batch, head_geometry
from clustr_tf.classifier import Classifier
from clustr_tf.serve.decoding import decode_images
from clustr_tf.serve.options import DEFAULTS, ServingOptions
from clustr_tf.serve.validation import (
    checked_images,
    checked_radii,
    counted_radii,
    valid_images,
    valid_radii,
)

Outputs = dict[str, tf.Tensor]


class ServingModule(tf.Module):
    """A classifier's answers with their certificates, as TensorFlow functions.

    Scores and radii are computed by the functions that training and certification use. Input
    that is not an image in [0, 1] is refused with INVALID_ARGUMENT, and with it the whole request,
    or flagged row by row, as `options` say; nothing is clipped or guessed. A flagged row answers
    -1 as its class and clusters and 0 everywhere else. Batches of another shape and empty ones
    are always refused.

    WARNING: a radius holds for changes of the pixels in its norm, as far as `bound` is a proved
    bound of this very network computing in float32. A server on a GPU computes in TensorFloat-32
    unless it is started with NVIDIA_TF32_OVERRIDE=0.

    Args:
        classifier: with a `ClusteringHead` and images of 1 or 3 channels; what answers is its
            `certified_classifier`.
        bound: proved Lipschitz bound from pixels to embeddings, standardisation included, of that.
        options: what happens to bad input and to images of another size.

    Raises:
        ValueError: if the classifier has another head.

    Example:
        >>> module = ServingModule(classifier, bound)
        >>> tf.saved_model.save(module, path, signatures=module.signature_functions())
    """

    def __init__(
        self,
        classifier: Classifier,
        bound: LipschitzBound,
        options: ServingOptions = DEFAULTS,
    ):
        super().__init__(name="serving")
        classifier = certified_classifier(classifier)
        # Tracked are the variables alone: tracking the Keras model too would store them twice.
        self.parameters = [variable.value for variable in classifier.variables]
        self._image_shape = classifier.image_shape
        self._options = options
        geometry = head_geometry(classifier.head)
        search = SEARCHES[options.linf]
        # One function that all signatures call: traced and stored once.
        self._certify = tf.function(
            lambda images: certify_batch(classifier, images, bound, geometry, search=search),
            input_signature=[tf.TensorSpec((None, *self._image_shape), tf.float32)],
            autograph=False,
        )

    def serving_default(self, images: tf.Tensor) -> Outputs:
        """Classes, probabilities and certified radii.

        Args:
            images: float32 `[batch, H, W, C]` in [0, 1].

        Returns:
            `class_id` int64 `[batch]`; `probabilities` float32 `[batch, C]`, the softmax of the
            log-scores; `certified_radius_l2` and `certified_radius_linf` float32 `[batch]` in
            pixels, 0 where nothing is proved.
        """
        return self._predict(*self._admitted(images))

    def _predict(self, images: tf.Tensor, valid: tf.Tensor) -> Outputs:
        _, certificates = self._certify(images)
        outputs = {
            "class_id": certificates.class_id,
            "probabilities": tf.nn.softmax(certificates.log_scores),
            "certified_radius_l2": certificates.certified_radius_l2,
            "certified_radius_linf": certificates.certified_radius_linf,
        }
        return self._flagged(outputs, valid)

    def certify(self, images: tf.Tensor, radius_l2: tf.Tensor) -> Outputs:
        """Certificates, compared with the radii that are asked for.

        Args:
            images: float32 `[batch, H, W, C]` in [0, 1].
            radius_l2: float32 `[batch]`, l2 in pixels, at least 0.

        Returns:
            `class_id`, `nearest_cluster`, `runner_up_class_id` int64, `certified_radius_l2`,
            `certified_radius_linf`, `embedding_margin` float32 and `is_certified` bool, all
            `[batch]`. An image is certified if a radius above 0 is proved that is no smaller than
            the one asked for; asking for 0 asks whether anything is proved at all.
        """
        images, asked, valid = self._asked(images, "radius_l2", radius_l2)
        _, certificates = self._certify(images)
        proved = certificates.certified_radius_l2
        outputs = {
            "class_id": certificates.class_id,
            "certified_radius_l2": proved,
            "certified_radius_linf": certificates.certified_radius_linf,
            "embedding_margin": certificates.embedding_margin,
            "nearest_cluster": certificates.nearest_cluster,
            "runner_up_class_id": certificates.runner_up_class_id,
            "is_certified": (proved > 0) & (proved >= asked),
        }
        return self._flagged(outputs, valid)

    def certify_linf(self, images: tf.Tensor, radius_linf: tf.Tensor) -> Outputs:
        """`certify` in l-infinity.

        Args:
            images: float32 `[batch, H, W, C]` in [0, 1].
            radius_linf: float32 `[batch]`, l-infinity in pixels, at least 0.

        Returns:
            `class_id` int64, `certified_radius_linf` float32 and `is_certified` bool, all
            `[batch]`.
        """
        images, asked, valid = self._asked(images, "radius_linf", radius_linf)
        _, certificates = self._certify(images)
        proved = certificates.certified_radius_linf
        outputs = {
            "class_id": certificates.class_id,
            "certified_radius_linf": proved,
            "is_certified": (proved > 0) & (proved >= asked),
        }
        return self._flagged(outputs, valid)

    def embed(self, images: tf.Tensor) -> Outputs:
        """Embeddings and their distances to the clusters.

        Args:
            images: float32 `[batch, H, W, C]` in [0, 1].

        Returns:
            `embeddings` float32 `[batch, dim]`, `nearest_cluster` int64 `[batch]`,
            `squared_distances` float32 `[batch, C*K]`.
        """
        images, valid = self._admitted(images)
        embeddings, certificates = self._certify(images)
        outputs = {
            "embeddings": tf.cast(embeddings, tf.float32),
            "nearest_cluster": certificates.nearest_cluster,
            "squared_distances": certificates.squared_distances,
        }
        return self._flagged(outputs, valid)

    def serving_bytes(self, image_bytes: tf.Tensor) -> Outputs:
        """`serving_default` of encoded images.

        Args:
            image_bytes: string `[batch]`, PNG or JPEG; see `decode_images`.

        Returns:
            As `serving_default`.
        """
        return self._predict(*decode_images(image_bytes, self._image_shape, self._options))

    def _admitted(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Images that can be classified, and which of them were sent like that, bool `[batch]`."""
        if self._options.on_invalid == "flag":
            return valid_images(images, self._image_shape)
        images = checked_images(images, self._image_shape)
        return images, tf.fill(tf.shape(images)[:1], True)

    def _asked(
        self, images: tf.Tensor, name: str, radii: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Images and radii that can be answered, and which rows were sent like that."""
        images, valid = self._admitted(images)
        if self._options.on_invalid == "flag":
            asked = counted_radii(name, radii, images)
            return images, asked, valid & valid_radii(asked)
        return images, checked_radii(name, radii, images), valid

    def _flagged(self, outputs: Outputs, valid: tf.Tensor) -> Outputs:
        """The outputs, of which bad rows say nothing."""
        if self._options.on_invalid == "refuse":
            return outputs

        def marked(output: tf.Tensor) -> tf.Tensor:
            good = tf.reshape(valid, (-1,) + (1,) * (len(output.shape) - 1))
            nothing = -1 if output.dtype == tf.int64 else 0
            return tf.where(good, output, tf.cast(nothing, output.dtype))

        return {name: marked(output) for name, output in outputs.items()}

    def signature_functions(self) -> dict[str, Any]:
        """The signatures by name, each traced once for batches of any size."""
        images = tf.TensorSpec((None, *self._image_shape), tf.float32, "images")
        radii = {
            norm: tf.TensorSpec((None,), tf.float32, f"radius_{norm}") for norm in ("l2", "linf")
        }
        image_bytes = tf.TensorSpec((None,), tf.string, "image_bytes")
        inputs = {
            self.serving_default: [images],
            self.certify: [images, radii["l2"]],
            self.certify_linf: [images, radii["linf"]],
            self.embed: [images],
            self.serving_bytes: [image_bytes],
        }
        return {
            answer.__name__: tf.function(answer).get_concrete_function(*specs)
            for answer, specs in inputs.items()
        }
