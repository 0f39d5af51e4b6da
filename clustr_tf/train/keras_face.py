"""`compile` and `fit` as Keras users know them, in front of the trainer."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.data.augmentation import unchanged
from clustr_tf.data.image_store import subset
from clustr_tf.data.pixels import checked_examples
from clustr_tf.layers import ClusteringHead
from clustr_tf.methods import Method, Nominal
from clustr_tf.run.distribution import Replicas
from clustr_tf.run.errors import TrainingDivergedError
from clustr_tf.train.callbacks.base import TrainerCallback
from clustr_tf.train.callbacks.watch import check_lipschitz
from clustr_tf.train.trainer import Augment, Trainer, TrainingImages

_BATCH = 32


def checked_method(method: Method | None, classifier: Classifier) -> Method:
    """The method, if it fits the classifier, whose head then learns its centroids or does not.

    Args:
        method: None for `Nominal()`.
        classifier: to be trained.

    Returns:
        The method.

    Raises:
        ValueError: if it is none, needs clusters that the head does not have, or a 1-Lipschitz
            network.
    """
    method, head = method or Nominal(), classifier.head
    if not isinstance(method, Method):
        raise ValueError(f"method must be one of clustr_tf.methods. Received: {method!r}")
    name = type(method).__name__
    if method.centroids is not None:
        if not isinstance(head, ClusteringHead):
            raise ValueError(
                f"method={name} needs a classifier with a ClusteringHead. "
                f"Received: a head of type {type(head).__name__}"
            )
        head.learned = method.centroids == "learned"
    if method.needs_lipschitz:
        check_lipschitz(classifier, f"method={name}")
    return method


def compile_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `Classifier.compile` as a saved model has them; knows all methods."""
    deserialize = keras.saving.deserialize_keras_object
    found = {
        name: deserialize(value) if isinstance(value, dict) else value
        for name, value in config.items()
    }
    return {**found, "metrics": [deserialize(metric) for metric in config["metrics"]]}


def fit(
    classifier: Classifier,
    x: Any,
    y: Any = None,
    *,
    batch_size: int | None = None,
    epochs: int = 1,
    verbose: Any = "auto",
    callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback | None = None,
    validation_split: float = 0.0,
    validation_data: Any = None,
    steps_per_epoch: int | None = None,
    initial_epoch: int = 0,
    augment: Augment = unchanged,
    seed: int | None = None,
) -> keras.callbacks.History:
    """Trains a compiled classifier; what `Classifier.fit` does.

    Methods that draw neighbourhoods take arrays, or a finite pipeline, which is put into memory;
    all others stream a pipeline that need not fit there.

    Args:
        classifier: compiled.
        x: images `[N, H, W, C]`, uint8 or floats in [0, 1], in memory, memory-mapped or
            `StoredImages`; or a tf.data.Dataset of batches
            (images, labels).
        y: int `[N]`, classes from 0; None with a pipeline.
        batch_size: images of a step on all replicas together, 32 by default; of methods with
            neighbourhoods M*D, or left out. None with a pipeline, which has its own.
        epochs: number of the last epoch.
        verbose: 0 says nothing; 1 and "auto" show a bar, 2 a line an epoch.
        callbacks: any Keras callbacks; those of `clustr_tf.train.callbacks` too.
        validation_split: share of the arrays, their last images, that is held out.
        validation_data: (images, labels) or a pipeline; gives `val_loss` and `val_accuracy`.
        steps_per_epoch: None: one pass.
        initial_epoch: number of the first epoch, from 0.
        augment: (images in [0, 1], int32 seed `[2]`) -> images, traced into the step; such as
            `clustr_tf.data.AUGMENTATIONS["crop_and_flip"]`.
        seed: of batches, augmentation, adversaries and k-means; None: drawn from Python's global
            generator, which `keras.utils.set_random_seed` seeds.

    Returns:
        Keras' history: `loss` and its parts, `learning_rate`, `val_...` and more.

    Raises:
        ValueError: if it was not compiled, or data, labels or batch size are not as above.
        TrainingDivergedError: if the loss or a weight is NaN or infinite.

    Example:
        >>> classifier.compile("adam", method=clustr_tf.methods.Clustr())
        >>> classifier.fit(images, labels, epochs=10, validation_split=0.1)
    """
    if not classifier.compiled:
        raise ValueError("call compile(optimizer=, method=) before fit. Received: nothing compiled")
    if isinstance(x, tf.data.Dataset):
        if y is not None or batch_size is not None or validation_split:
            raise ValueError(
                "y, batch_size and validation_split must be left out with a tf.data.Dataset, "
                "which has its own. Received: one of them"
            )
        data = _materialised(classifier, x) if classifier.method.needs_neighbourhoods else x
    else:
        data = _checked(classifier, x, y)
    if isinstance(validation_data, tuple | list):
        validation_data = tuple(_checked(classifier, *validation_data))
    if validation_split and validation_data is None:
        if not 0 < validation_split < 1:
            raise ValueError(f"validation_split must be in [0, 1). Received: {validation_split}")
        kept = int(len(data.labels) * (1 - validation_split))
        validation_data = (subset(data.images, slice(kept, None)), data.labels[kept:])
        data = TrainingImages(subset(data.images, slice(kept)), data.labels[:kept])
    replicas = Replicas(classifier.distribute_strategy)
    if isinstance(data, TrainingImages):
        _check_classes(classifier, data.labels)
        if not classifier.method.needs_neighbourhoods:
            batch_size = _batch_of_a_replica(batch_size, len(data.labels), replicas.count)
    if validation_data is not None and replicas.has_several_workers:
        raise ValueError(
            "validation_data must be left out with several workers: WatchRobustness measures there "
            "as well. Received: validation data"
        )
    if seed is None:
        # One worker's, as all have to draw alike.
        seed = int(replicas.broadcast(np.array([random.randrange(2**31)]))[0])
    callbacks = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else callbacks
    measuring = [] if validation_data is None else [_Validate(validation_data, batch_size)]
    try:
        trainer = Trainer(
            classifier,
            classifier.method,
            classifier.optimizer,
            data,
            batch_size=batch_size,
            clustering=classifier.clustering,
            augment=augment,
            seed=seed,
            replicas=replicas,
            steps_per_epoch=steps_per_epoch,
            jit_compile=classifier._step_is_jitted,
        )
        return trainer.train(
            epochs,
            callbacks=[*measuring, *(callbacks or [])],
            initial_epoch=initial_epoch,
            verbose=1 if verbose == "auto" else int(verbose),
        )
    except TrainingDivergedError as error:
        raise TrainingDivergedError(f"{error}. Try a smaller learning rate") from error


def _check_classes(classifier: Classifier, labels: np.ndarray) -> None:
    """Refuses classes with fewer training images than they have clusters."""
    if classifier.method.centroids in ("refreshed", "learned"):
        head = classifier.head
        sizes = np.bincount(labels, minlength=head.num_classes)
        if sizes.min() < head.clusters_per_class:
            raise ValueError(
                f"every class must have at least {head.clusters_per_class} training images, one a "
                f"cluster. Received: {sizes.min()} of class {sizes.argmin()}"
            )


def _batch_of_a_replica(batch_size: int | None, images: int, replicas: int) -> int:
    if batch_size is None:
        return max(min(_BATCH, images) // replicas, 1)
    if batch_size % replicas:
        raise ValueError(
            f"batch_size must be a multiple of the {replicas} replicas. Received: {batch_size}"
        )
    return min(batch_size, images - images % replicas) // replicas


class _Validate(TrainerCallback):
    """`val_` before what the classifier's `evaluate` says of other images."""

    def __init__(self, data: Any, batch_size: int | None):
        super().__init__()
        self._data, self._batch_size = data, batch_size

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        del epoch
        pair = self._data if isinstance(self._data, tuple | list) else (self._data,)
        figures = self.model.evaluate(
            *pair, batch_size=self._batch_size, verbose=0, return_dict=True
        )
        logs.update({f"val_{name}": value for name, value in figures.items()})


def _checked(classifier: Classifier, x: Any, y: Any) -> TrainingImages:
    shape = np.shape(x)
    if len(shape) != 4 or shape[1:] != classifier.image_shape:
        raise ValueError(
            f"x must be images [N, {', '.join(map(str, classifier.image_shape))}]. "
            f"Received: shape {shape}"
        )
    return TrainingImages(*checked_examples(x, y, classifier))


def _materialised(classifier: Classifier, dataset: tf.data.Dataset) -> TrainingImages:
    if dataset.cardinality() < 0:
        raise ValueError(
            "a method that draws neighbourhoods needs a tf.data.Dataset of known length, which is "
            "put into memory; tf.data.experimental.assert_cardinality tells it. Received: an "
            "infinite or unknown one"
        )
    batches = list(dataset.as_numpy_iterator())
    images, labels = (np.concatenate(column) for column in zip(*batches, strict=True))
    return _checked(classifier, images, labels)
