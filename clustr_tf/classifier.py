"""The classifier: standardise -> backbone -> head."""

import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from clustr_tf.data.image_store import Images
from clustr_tf.data.pixels import to_pixels
from clustr_tf.layers.clustering_head import marked_log_scores
from clustr_tf.run.distribution import Replicas
from clustr_tf.run.errors import RunError

_BATCH = 512
_MOST_EMBEDDINGS_BYTES = 2**30  # in memory


@keras.saving.register_keras_serializable("clustr_tf")
class Classifier(keras.Model):
    """Images in [0, 1] to log-scores; everything a radius or an attack speaks of is raw pixels.

    Standardisation is a layer inside the model, so that attacks, radii and exports see pixels.

    WARNING: this model's head computes in float32, the certified one in float64, and so does all of
    a certified backbone that is 1-Lipschitz by construction. Where two log-scores differ by less
    than their rounding the two may decide otherwise, inside a certified radius too; and inputs
    outside [0, 1] are not refused here. See docs/certificates.md.

    It is a Keras model: `compile(optimizer, method)`, `fit`, `predict`, `evaluate` and `save` are
    what Keras users know, and any Keras optimizer, callback and pre-trained backbone goes in.

    Args:
        backbone: any Keras model with a known input shape, standardised images -> embeddings
            `[batch, dim]`; images are standardised in the dtype of its input.
        head: layer, embeddings -> log-scores `[batch, classes]`, such as `ClusteringHead`, or a
            `keras.layers.Dense` without activation for the baselines.
        mean: per-channel means of the pixels, in [0, 1]; None: the backbone sees pixels.
        std: per-channel standard deviations of the pixels, above 0; None: 1.
        **kwargs: as in `keras.Model`.

    Input shape: `[batch, H, W, C]` images, floats in [0, 1] or uint8, which stand for multiples
    of 1/255. Output shape: `[batch, classes]`.

    Raises:
        ValueError: if `mean` or `std` do not have one usable value a channel, or the backbone does
            not give one vector an image.

    Example:
        >>> backbone = build_backbone("small_cnn", (8, 8, 1))
        >>> classifier = Classifier(backbone, ClusteringHead(10, 1), mean=[0.3], std=[0.4])
        >>> classifier.compile("adamw", method=clustr_tf.methods.ClustrAT(eps=0.1))
        >>> classifier.fit(images, labels, epochs=10, validation_data=(others, their_labels))
        >>> classifier.predict(images)  # log-scores
    """

    def __init__(
        self,
        backbone: keras.Model,
        head: keras.layers.Layer,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        channels = backbone.input_shape[-1]
        if len(backbone.output_shape) != 2 or None in backbone.output_shape[1:]:
            raise ValueError(
                "backbone must give embeddings [batch, dim]: end it with a pooling or Flatten "
                f"layer. Received: an output of shape {backbone.output_shape}"
            )
        mean = [0.0] * channels if mean is None else mean
        std = [1.0] * channels if std is None else std
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
        return marked_log_scores(self.head(embeddings))

    def call(self, images: Any, training: bool = False) -> Any:
        pixels = to_pixels(ops.convert_to_tensor(images))
        return self.log_scores(self.embed(pixels, training=training))

    def compile(
        self,
        optimizer: Any = "adam",
        method: Any = None,
        *,
        clustering: Any = None,
        metrics: Sequence[Any] = ("accuracy",),
        jit_compile: bool = False,
        **kwargs: Any,
    ) -> None:
        """Says how to train.

        Args:
            optimizer: any Keras optimizer, or its name; with `use_ema` the averaged weights are
                measured on validation data and become the model's at the end.
            method: of `clustr_tf.methods`, such as `ClustrAT(eps=8 / 255)`; None: cross-entropy
                without an adversary, `Nominal()`.
            clustering: a `clustr_tf.train.Clustering`, of methods with clusters; None: its
                defaults, which fit small data.
            metrics: for `evaluate` and validation data, as in Keras.
            jit_compile: whether XLA compiles the training step; never worth it for a large network
                on a CPU.
            **kwargs: as in `keras.Model.compile`, but for `loss`: the method gives the losses, and
                `evaluate` tells the cross-entropy of the log-scores.

        Raises:
            ValueError: if the method needs clusters and the head has none, or a loss is given.

        Example:
            >>> classifier.compile(keras.optimizers.SGD(0.1, momentum=0.9), Clustr(alpha=12.5))
        """
        from clustr_tf.train.keras_face import checked_method

        if "loss" in kwargs:
            raise ValueError(
                "loss must be left out: a method of clustr_tf.methods gives the losses, and "
                f"MagnetLoss alone trains classifier.embedder. Received: {kwargs['loss']!r}"
            )
        self.method = checked_method(method, self)
        self.clustering = clustering
        self._step_is_jitted = jit_compile
        self._metrics_config = [keras.saving.serialize_keras_object(one) for one in metrics]
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        super().compile(
            optimizer, loss=loss, metrics=list(metrics), jit_compile=jit_compile, **kwargs
        )

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains by the compiled method; arguments and result as of `clustr_tf.train.fit`."""
        from clustr_tf.train.keras_face import fit

        return fit(self, *args, **kwargs)

    def get_compile_config(self) -> dict[str, Any]:
        if not self.compiled:
            return {}
        serialize = keras.saving.serialize_keras_object
        return {
            "optimizer": serialize(self.optimizer),
            "method": serialize(self.method),
            "clustering": serialize(self.clustering) if self.clustering else None,
            "metrics": list(self._metrics_config),
            "jit_compile": self._step_is_jitted,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        from clustr_tf.train.keras_face import compile_arguments

        self.compile(**compile_arguments(config))
        self.optimizer.build(self.trainable_variables)

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


class Embedder:
    """Embeds images in evaluation mode, compiled once, split over the replicas.

    Args:
        classifier: whose embeddings are wanted.
        replicas: who shares the work; None for this device alone.
        jit_compile: whether XLA compiles the pass.

    Example:
        >>> Embedder(classifier)(dataset.test_images)  # float32 [N, dim]
    """

    def __init__(
        self,
        classifier: Classifier,
        replicas: Replicas | None = None,
        jit_compile: bool = False,
    ):
        self._classifier, self._jit_compile = classifier, jit_compile
        self._replicas = replicas or Replicas(tf.distribute.get_strategy())
        self._compiled: dict[np.dtype, Any] = {}

    def __call__(self, images: Images) -> np.ndarray:
        """Embeds images, which may lie on disk: a batch at a time is in memory.

        Args:
            images: uint8 or floats in [0, 1], `[N, H, W, C]`, N at least 1.

        Returns:
            float32 `[N, dim]`, on every worker all of them; beyond 1 GiB they are in a temporary
            file (of `TMPDIR`), memory-mapped, which is gone when the array is.

        Raises:
            RunError: if there is no room for that file.
        """
        count = self._replicas.count
        share = -(-len(images) // count)
        # The last replica may have to embed an image twice: gathering takes equal shares.
        rows = np.minimum(np.arange(share * count), len(images) - 1).reshape(count, share)
        if images.dtype not in self._compiled:
            self._compiled[images.dtype] = self._compile(images.dtype)
        embed = self._compiled[images.dtype]
        embeddings = _room_for(len(images), self._classifier.backbone.output_shape[-1])
        for start in range(0, share, _BATCH):
            part = images[rows[:, start : start + _BATCH]]
            values = self._replicas.values(partial(_tensor_of, part))
            gathered = self._replicas.local(embed(values))[0].numpy()
            places = rows[:, start : start + _BATCH].reshape(-1)
            embeddings[places] = gathered.reshape(len(places), -1)
        return embeddings

    def _compile(self, dtype: np.dtype) -> Any:
        classifier, replicas = self._classifier, self._replicas
        embed = tf.function(
            lambda images: tf.cast(classifier.embed(to_pixels(images)), tf.float32),
            input_signature=[tf.TensorSpec([None, *classifier.image_shape], dtype)],
            jit_compile=self._jit_compile,
            autograph=False,
        )
        if replicas.count == 1:
            return embed
        # A function of several replicas' values has no signature: it is traced for each shape.
        return tf.function(
            lambda images: replicas.strategy.run(
                lambda share: replicas.gather(embed(share)), args=(images,)
            ),
            reduce_retracing=True,
            autograph=False,
        )


def _room_for(count: int, dim: int) -> np.ndarray:
    """An array for the embeddings of so many images, float32 `[count, dim]`."""
    size = count * dim * np.dtype(np.float32).itemsize
    if size <= _MOST_EMBEDDINGS_BYTES:
        return np.empty((count, dim), np.float32)
    with tempfile.TemporaryFile() as file:
        try:
            # Pages of a sparse file that find the disk full would end the process.
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise RunError(
                f"Embeddings of {count} images need {size / 2**30:.1f} GiB in "
                f"{tempfile.gettempdir()} ({error.strerror}): set TMPDIR to a folder with room"
            ) from error
        return np.asarray(np.memmap(file, np.float32, "r+", shape=(count, dim)))


def _tensor_of(shares: np.ndarray, replica: int) -> tf.Tensor:
    return tf.constant(shares[replica])


def load_model(path: str | Path) -> keras.Model:
    """Loads a model that was trained here, or any other `.keras` file.

    Args:
        path: a workdir, or a file as `Classifier.save` writes it.

    Returns:
        The model; a `Classifier` with its optimizer and method where it was saved compiled.

    Raises:
        ValueError: if there is no model.

    Example:
        >>> load_model("runs/digits").predict(images)
    """
    path = Path(path)
    file = path / "model.keras" if path.is_dir() else path
    if not file.exists():
        raise ValueError(f"path must be a workdir or a .keras file. Received: {str(path)!r}")
    return keras.models.load_model(file)
