"""The classifier: standardise -> backbone -> head."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("clustr_tf")
class Classifier(keras.Model):
    """Images in [0, 1] to log-scores; everything a radius or an attack speaks of is raw pixels.

    Standardisation is a layer inside the model, so that attacks, radii and exports see pixels.

    WARNING: this model's head computes in float32, the certified one in float64, and so does all of
    a certified backbone that is 1-Lipschitz by construction. Where two log-scores differ by less
    than their rounding the two may decide otherwise, inside a certified radius too; and inputs
    outside [0, 1] are not refused here. See docs/certificates.md.

    Args:
        backbone: functional model, standardised images -> embeddings `[batch, dim]`; images are
            standardised in the dtype of its input.
        head: layer, embeddings -> log-scores `[batch, classes]`, such as `ClusteringHead`.
        mean: per-channel means of the pixels, in [0, 1].
        std: per-channel standard deviations of the pixels, above 0.
        **kwargs: as in `keras.Model`.

    Input shape: `[batch, H, W, C]` float images in [0, 1]. Output shape: `[batch, classes]`.

    Raises:
        ValueError: if `mean` or `std` do not have one usable value a channel.

    Example:
        >>> backbone = build_backbone("small_cnn", (8, 8, 1))
        >>> model = Classifier(backbone, ClusteringHead(10, 1), mean=[0.3], std=[0.4])
        >>> model(images)  # log-scores
    """

    def __init__(
        self,
        backbone: keras.Model,
        head: keras.layers.Layer,
        mean: Sequence[float],
        std: Sequence[float],
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        channels = backbone.input_shape[-1]
        if len(mean) != channels or len(std) != channels or min(std) <= 0:
            raise ValueError(
                f"mean and std must have one value for each of {channels} channels, std above 0. "
                f"Received: mean={list(mean)}, std={list(std)}"
            )
        self.mean = [float(value) for value in mean]
        self.std = [float(value) for value in std]
        self.standardise = keras.layers.Normalization(
            mean=self.mean,
            variance=[value**2 for value in self.std],
            dtype=backbone.inputs[0].dtype,
            name="standardise",
        )
        self.backbone = backbone
        images = keras.Input(backbone.input_shape[1:], name="images")
        self.embedder = keras.Model(images, backbone(self.standardise(images)), name="embedder")
        self.head = head
        self.build(backbone.input_shape)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images."""
        return tuple(self.backbone.input_shape[1:])

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if not self.head.built:
            self.head.build(self.backbone.output_shape)
        self.built = True

    def embed(self, images: Any, training: bool = False) -> Any:
        """Embeddings of images.

        Args:
            images: `[batch, H, W, C]` in [0, 1].
            training: whether batch normalisation uses (and updates from) the batch.

        Returns:
            `[batch, dim]` embeddings in the head's precision: distances and losses are float32
            even where the backbone computes in bfloat16.
        """
        embeddings = self.embedder(images, training=training)
        return ops.cast(embeddings, self.head.compute_dtype)

    def log_scores(self, embeddings: Any) -> Any:
        """Class log-scores of embeddings, `[batch, dim]` -> `[batch, classes]`, float32 or wider.

        Adding a constant to a row of log-scores changes nothing; their softmax is the
        probabilities.
        """
        return self.head(embeddings)

    def call(self, images: Any, training: bool = False) -> Any:
        return self.log_scores(self.embed(ops.convert_to_tensor(images), training=training))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return self.head.compute_output_shape((input_shape[0], self.backbone.output_shape[-1]))

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "head": keras.saving.serialize_keras_object(self.head),
            "mean": self.mean,
            "std": self.std,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Classifier":
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("backbone", "head")
        }
        return cls(**{**config, **parts})
