"""Classifiers as Keras-tuner searches them: any of its tuners takes the hyper-model."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import keras
import keras_tuner

from clustr_tf.backbones import build_backbone
from clustr_tf.classifier import Classifier
from clustr_tf.layers import ClusteringHead
from clustr_tf.methods import METHODS, Method


class ClassifierHyperModel(keras_tuner.HyperModel):
    """Draws the training method, its learning rate, clusters per class and the network's width.

    What else is to be drawn, a subclass draws: it overrides `backbone`, `method` or `optimizer`.
    Judge methods with an adversary by robust accuracy: by `val_accuracy` the weakest adversary
    wins. `fit` is then overridden too, to watch held-out images; docs/keras.md has the code.

    Args:
        image_shape: (height, width, channels) of images in [0, 1].
        num_classes: how many classes.
        eps: radius of the adversary in training, in pixels; methods without one ignore it.
        backbone: a key of `BACKBONES`, whose width is drawn, or a function of Keras-tuner's
            `HyperParameters` that gives any network, images -> embeddings `[batch, dim]`.
        methods: keys of `METHODS` to choose from.
        clusters_per_class: to choose from, of methods with clusters.
        widths: of a named backbone, to choose from.
        learning_rates: the least and the greatest of Adam's, drawn logarithmically.
        mean: per-channel means of the pixels; None: the network sees pixels.
        std: per-channel standard deviations of the pixels; None: 1, which a backbone that is
            1-Lipschitz needs.
        **kwargs: as in `keras_tuner.HyperModel`.

    Raises:
        ValueError: if a method is unknown.

    Example:
        >>> tuner = keras_tuner.RandomSearch(
        ...     ClassifierHyperModel(image_shape=(8, 8, 1), num_classes=10, eps=0.1),
        ...     objective=keras_tuner.Objective("val_accuracy", "max"),
        ...     max_trials=20,
        ... )
        >>> tuner.search(images, labels, epochs=10, validation_split=0.1)
        >>> tuner.get_best_models(1)[0].predict(images)
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        eps: float,
        backbone: str | Callable[[keras_tuner.HyperParameters], keras.Model] = "small_cnn",
        methods: Sequence[str] = ("clustr_at", "pgd_at"),
        clusters_per_class: Sequence[int] = (1, 2, 4),
        widths: Sequence[int] = (16, 32, 64),
        learning_rates: tuple[float, float] = (3e-4, 1e-2),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not methods or not set(methods) <= set(METHODS):
            raise ValueError(f"methods must be out of {sorted(METHODS)}. Received: {methods}")
        self.image_shape, self.num_classes, self.eps = image_shape, num_classes, eps
        self.methods, self.clusters_per_class = tuple(methods), tuple(clusters_per_class)
        self.widths, self.learning_rates = tuple(widths), tuple(learning_rates)
        self.mean, self.std = mean, std
        self._backbone = backbone

    def backbone(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The network, images -> embeddings.

        Args:
            hp: draws.
        """
        if callable(self._backbone):
            return self._backbone(hp)
        width = hp.Choice("width", self.widths)
        return build_backbone(self._backbone, self.image_shape, width=width)

    def method(self, hp: keras_tuner.HyperParameters) -> Method:
        """The training method, at the radius of the search.

        Args:
            hp: draws.
        """
        kind: type[Any] = METHODS[hp.Choice("method", self.methods)]
        has_eps = "eps" in {field.name for field in fields(kind)}
        method: Method = kind(eps=self.eps) if has_eps else kind()
        return method

    def optimizer(self, hp: keras_tuner.HyperParameters) -> keras.optimizers.Optimizer:
        """The optimizer.

        Args:
            hp: draws.
        """
        low, high = self.learning_rates
        return keras.optimizers.Adam(hp.Float("learning_rate", low, high, sampling="log"))

    def build(self, hp: keras_tuner.HyperParameters) -> Classifier:
        """A compiled classifier, with a head as its method needs it.

        Args:
            hp: draws.

        Returns:
            The classifier, untrained.
        """
        method, backbone = self.method(hp), self.backbone(hp)
        head: keras.layers.Layer = keras.layers.Dense(self.num_classes, name="dense_head")
        if method.centroids is not None:
            clusters = hp.Choice("clusters_per_class", self.clusters_per_class)
            head = ClusteringHead(self.num_classes, clusters, name="clustering_head")
        classifier = Classifier(backbone, head, self.mean, self.std, name="classifier")
        classifier.compile(self.optimizer(hp), method)
        # A tuner loads the weights of a trial, the optimizer's among them.
        classifier.optimizer.build(classifier.trainable_variables)
        return classifier
