"""The one training loop: behind `Classifier.fit` and behind `python -m clustr_tf.train`."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from clustr_tf.classifier import Classifier, Embedder
from clustr_tf.data.augmentation import unchanged
from clustr_tf.data.batches import NeighbourhoodSampler, ShuffledBatches, most_clusters
from clustr_tf.data.image_store import Images
from clustr_tf.methods.base import Method
from clustr_tf.run.distribution import Replicas
from clustr_tf.run.errors import TrainingDivergedError
from clustr_tf.train.callbacks.base import TrainerCallback
from clustr_tf.train.callbacks.refresh import RefreshClusters
from clustr_tf.train.checkpoints import EpochProgress, TrainingState
from clustr_tf.train.settings import USUAL_CLUSTERS, USUAL_EXAMPLES, Clustering
from clustr_tf.train.sources import ArraySource, Draw, Source, StreamSource
from clustr_tf.train.step import build_step, no_perturbation

Augment = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class TrainingImages(NamedTuple):
    """A training set whose images are drawn by their indices.

    Attributes:
        images: uint8 or float32 `[N, H, W, C]`, in memory or on disk; uint8 stand for multiples of
            1/255.
        labels: int64 `[N]` in 0..classes-1.
    """

    images: Images
    labels: np.ndarray


class _Batch(NamedTuple):
    """A step's draws and what the compiled step takes of them, one for each replica."""

    draws: list[Draw]
    images: Any
    targets: Any


class Trainer:
    """Trains a classifier by a method, step by step; Keras callbacks hear of everything.

    Every part is an object of the caller's. The next batch is drawn while the device works, so a
    draw knows the losses of all steps but the last.

    Args:
        classifier: made in the scope of the replicas' strategy.
        method: gives the losses; says which batches it needs.
        optimizer: any Keras optimizer.
        data: images that can be drawn, or a tf.data pipeline of batches (float32 images in [0, 1]
            or uint8, int labels) for methods that draw no neighbourhoods.
        batch_size: images of a shuffled batch of one replica; None: as many as a neighbourhood.
        steps_per_epoch: None: one pass: whole batches of all replicas together.
        clustering: of methods with clusters.
        augment: (images in [0, 1], seed) -> images, traced into the step.
        seed: of batches, augmentation, adversaries and k-means.
        replicas: where it trains; None: those of the classifier.
        jit_compile: whether XLA compiles the step.
        keeps_time: whether epochs record seconds and images per second.
        checkpoint: arrays of a `TrainingState`, to go on from.
        checksum: of the training data, stored with the state.

    Raises:
        ValueError: if classifier, method, data and batch size do not fit together.
        TrainingDivergedError: by the constructor and `train`, if the loss or a weight is NaN or
            infinite, or the embeddings cannot be clustered.

    Attributes:
        state: how far the training has come.
        refresh: finds new clusters after every epoch; None for methods that do not refresh any.

    Example:
        >>> trainer = Trainer(classifier, ClustrAT(eps=0.1), keras.optimizers.Adam(), data)
        >>> trainer.train(epochs=40, callbacks=[keras.callbacks.CSVLogger("log.csv")])
    """

    def __init__(
        self,
        classifier: Classifier,
        method: Method,
        optimizer: keras.optimizers.Optimizer,
        data: TrainingImages | tf.data.Dataset,
        *,
        batch_size: int | None = None,
        steps_per_epoch: int | None = None,
        clustering: Clustering | None = None,
        augment: Augment = unchanged,
        seed: int = 0,
        replicas: Replicas | None = None,
        jit_compile: bool = False,
        keeps_time: bool = True,
        checkpoint: Mapping[str, np.ndarray] | None = None,
        checksum: int = 0,
    ):
        self.classifier, self.method, self.optimizer = classifier, method, optimizer
        self.replicas = replicas or Replicas(classifier.distribute_strategy)
        self._seed, self._keeps_time, self._are_averaged = seed, keeps_time, False
        self._clustering = clustering or Clustering()
        with self.replicas.strategy.scope():
            if not optimizer.built:
                optimizer.build(classifier.trainable_variables)
        self._embed = Embedder(classifier, self.replicas, jit_compile)
        self._embed_alone = Embedder(classifier)  # by this process
        self.refresh: RefreshClusters | None = None
        self._source, batch, self._steps = self._begin(
            data, batch_size, steps_per_epoch, checkpoint
        )
        self._step = build_step(
            classifier,
            method,
            optimizer,
            augment,
            self.replicas,
            jit_compile,
            self._source.dtype,
        )
        self.state = TrainingState(
            {"classifier": classifier.variables, "optimizer": optimizer.variables},
            self._source,
            history=[],
            progress=EpochProgress(),
            perturbation=no_perturbation(
                method, batch * self.replicas.count, classifier.image_shape
            ),
            data=checksum,
        )
        if checkpoint is not None:
            self.state.restore(checkpoint)
            self.state.fit_to(self.replicas.count, batch)
        shares = np.split(self.state.perturbation, self.replicas.count)
        self._perturbation = self.replicas.values(lambda replica: tf.constant(shares[replica]))

    def train(
        self,
        epochs: int,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        recorders: Sequence[keras.callbacks.Callback] = (),
        initial_epoch: int = 0,
        verbose: int = 0,
    ) -> keras.callbacks.History:
        """Trains what is left of so many epochs.

        Args:
            epochs: of the whole training, those of a checkpoint and before `initial_epoch`
                included.
            callbacks: any Keras callbacks, and ours; what they add to an epoch's logs is recorded.
                With an optimizer that averages weights they see the averages at the end of an
                epoch.
            recorders: those that come when an epoch's row is complete: checkpoints, files.
            initial_epoch: number of the first epoch, from 0.
            verbose: 0, or 1 and 2 as in Keras.

        Returns:
            Keras' history.
        """
        self._epochs = epochs
        parameters = {"verbose": verbose, "epochs": epochs, "steps": self._steps}
        heard = keras.callbacks.CallbackList(
            [*callbacks, _RowEnds()],
            add_history=True,
            add_progbar=verbose > 0,
            model=self.classifier,
            **parameters,
        )
        recording = keras.callbacks.CallbackList(
            list(recorders), model=self.classifier, **parameters
        )
        both = (heard, recording)
        for callback in [*heard.callbacks, *recording.callbacks]:
            if isinstance(callback, TrainerCallback):
                callback.trainer = self
        self.classifier.stop_training = False
        self.classifier._initial_epoch = self._first = initial_epoch
        for each in both:
            each.on_train_begin()
        self._first = self.classifier._initial_epoch  # where BackupAndRestore goes on
        while self.epoch < epochs and not self.classifier.stop_training:
            epoch = self.epoch
            for each in both:
                each.on_epoch_begin(epoch)
            logs = self._run_steps(both)
            self.check_weights()
            self._measured_from = time.perf_counter()
            if self.refresh:
                self.refresh.on_epoch_end(epoch, logs)
            with self.averaged_weights():
                heard.on_epoch_end(epoch, logs | self._figures())
            recording.on_epoch_end(epoch, dict(self.state.history[-1]))
        self._finish()
        for each in both:
            each.on_train_end()
        return self.classifier.history

    @property
    def epoch(self) -> int:
        """How many epochs are finished."""
        return self._first + self.state.epoch

    def check_weights(self) -> None:
        """A state that is saved can be gone on from.

        Raises:
            TrainingDivergedError: if a weight is NaN or infinite.
        """
        weights = map(keras.ops.convert_to_numpy, self.classifier.variables)
        if not all(np.isfinite(weight).all() for weight in weights):
            raise TrainingDivergedError(
                f"A weight is NaN or infinite after step {self._steps_done()}"
            )

    def complete_state(self) -> TrainingState:
        """The state as it has to be saved; called by every worker."""
        if self.method.free:
            self.state.perturbation = self.replicas.gathered(self._perturbation)
        return self.state

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """With an optimizer that averages weights (`use_ema`): its averages, while the block runs.

        What is measured, and kept as the best epoch, are the averages, with clusters of their
        embeddings; training goes on without.
        """
        if not self._averages or self._are_averaged:
            yield
            return
        head = self.classifier.head
        self._swap()
        self._are_averaged = True
        try:
            if self.refresh:
                clusters = [keras.ops.convert_to_numpy(v) for v in (head.centroids, head.variance)]
                # It may be the only process that measures.
                self.refresh.of(self.classifier, self._embed_alone).find(self._seed)
            yield
        finally:
            self._are_averaged = False
            self._swap()
            if self.refresh:
                head.set_clusters(*clusters)

    @property
    def _averages(self) -> bool:
        """Whether there are averaged weights; before the first step they are zeros."""
        return bool(self.optimizer.use_ema and int(self.optimizer.iterations) > 0)

    def _swap(self) -> None:
        averages = self.optimizer._model_variables_moving_average
        for variable, average in zip(self.classifier.trainable_variables, averages, strict=True):
            values = [keras.ops.convert_to_numpy(one) for one in (variable, average)]
            variable.assign(values[1])
            average.assign(values[0])

    def _finish(self) -> None:
        """Averaged weights become the model's, and clusters those of its embeddings."""
        if self._averages:
            self.optimizer.finalize_variable_values(self.classifier.trainable_variables)
            if self.refresh:
                self.refresh.find(self._seed + self.epoch)

    def _begin(
        self,
        data: TrainingImages | tf.data.Dataset,
        batch_size: int | None,
        steps: int | None,
        checkpoint: Mapping[str, np.ndarray] | None,
    ) -> tuple[Source, int, int]:
        """The source of batches, with the clusters that the method begins with; batch and steps."""
        method, head = self.method, self.classifier.head
        in_memory = isinstance(data, TrainingImages)
        source: Source
        if method.needs_neighbourhoods:
            if not in_memory:
                raise ValueError(
                    f"{type(method).__name__} draws neighbourhoods and needs arrays of images and "
                    "labels. Received: a tf.data pipeline"
                )
            source, batch = self._neighbourhoods(data, batch_size, checkpoint)
        elif in_memory:
            batch = batch_size or self._clustering.usual_batch
            batches = ShuffledBatches(data.labels, batch, self._seed)
            source = ArraySource(data.images, batches, batch, self.replicas.count)
        else:
            shape = self.classifier.image_shape
            classes = self.classifier.compute_output_shape((None, *shape))[-1] or 0
            source = stream = StreamSource(data, shape, classes, bool(method.free))
            batch = -(-stream.batch // self.replicas.count)
        steps = steps or source.steps
        if steps is None:
            raise ValueError(
                "steps_per_epoch must be given for a tf.data pipeline whose length is unknown or "
                "infinite. Received: None"
            )
        if method.centroids == "fixed":
            _fix_clusters(head, self.classifier.backbone.output_shape[-1])
        if method.centroids == "learned" and checkpoint is None and not head.has_clusters:
            if in_memory:
                self._refresher(data.images, data.labels, self._embed).find(self._seed)
            else:
                embeddings, labels = self._embedded_pass(data, steps)
                self._refresher(embeddings, labels, np.asarray).find(self._seed)
        return source, batch, steps

    def _embedded_pass(self, dataset: tf.data.Dataset, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings and labels of an epoch of a pipeline; its images pass by."""
        embeddings, labels = [], []
        for images, classes in dataset.take(steps).as_numpy_iterator():
            embeddings.append(self._embed(images))
            labels.append(classes)
        return np.concatenate(embeddings), np.concatenate(labels).astype(np.int64)

    def _neighbourhoods(
        self,
        data: TrainingImages,
        batch_size: int | None,
        checkpoint: Mapping[str, np.ndarray] | None,
    ) -> tuple[ArraySource, int]:
        self.refresh = self._refresher(*data, self._embed)
        if checkpoint is None:
            clusters = self.refresh.find(self._seed)
            assignments, centroids = clusters.assignments, clusters.centroids
        else:
            assignments = checkpoint["batches/assignments"]
            centroids = checkpoint["batches/centroids"]
        per_batch, per_cluster = self._neighbourhood(assignments)
        batch = per_batch * per_cluster
        if batch_size not in (None, batch):
            raise ValueError(
                f"batch_size must be left out or M*D = {per_batch}*{per_cluster} = {batch}, a "
                f"neighbourhood of {type(self.method).__name__}; M and D are those of "
                f"compile(clustering=Clustering(...)). Received: {batch_size}"
            )
        sampler = NeighbourhoodSampler(
            data.labels, assignments, centroids, per_batch, per_cluster, seed=self._seed
        )
        self.refresh.sampler = sampler
        return ArraySource(data.images, sampler, batch, self.replicas.count), batch

    def _neighbourhood(self, assignments: np.ndarray) -> tuple[int, int]:
        """M and D, fitted to small data where they are left open."""
        head = self.classifier.head
        most = most_clusters(head.clusters_per_class, head.num_classes)
        sizes = np.bincount(assignments)
        smallest = int(sizes[sizes > 0].min())
        return (
            self._clustering.clusters_per_batch or min(USUAL_CLUSTERS, most),
            self._clustering.examples_per_cluster or max(min(USUAL_EXAMPLES, smallest), 2),
        )

    def _refresher(
        self, images: Images, labels: np.ndarray, embed: Callable[[Images], np.ndarray]
    ) -> RefreshClusters:
        return RefreshClusters(
            images,
            labels,
            self._clustering,
            head=self.classifier.head,
            embed=embed,
            seed=self._seed,
            replicas=self.replicas,
        )

    def _run_steps(self, both: Sequence[keras.callbacks.CallbackList]) -> dict[str, float]:
        """The steps that the epoch lacks; the next batch is drawn while the device is busy.

        So a draw does not know the losses of the step before it, only those of older ones.
        """
        progress = self.state.progress
        if progress.step < self._steps:  # else the session before had fewer replicas
            with ThreadPoolExecutor(1, "next-batch") as executor:
                batch = self._prepare(progress.pending or self._draw())
                while progress.step < self._steps and not self.classifier.stop_training:
                    for each in both:
                        each.on_train_batch_begin(progress.step)
                    begin = time.perf_counter()
                    is_last = progress.step + 1 == self._steps
                    following = None if is_last else executor.submit(self._next_batch)
                    losses, parts = self._run_step(batch)
                    progress.step += 1
                    progress.pending = []
                    draws = batch.draws
                    if following:
                        batch = following.result()
                        progress.pending = batch.draws
                    self._source.remember(draws, losses)
                    for name, value in parts.items():
                        progress.sums[name] = progress.sums.get(name, 0.0) + value
                    progress.images += len(losses)
                    progress.seconds += time.perf_counter() - begin
                    for each in both:
                        each.on_train_batch_end(progress.step - 1, self._means())
        return self._means()

    def _means(self) -> dict[str, float]:
        progress = self.state.progress
        return {name: total / progress.step for name, total in progress.sums.items()}

    def _run_step(self, batch: _Batch) -> tuple[np.ndarray, dict[str, float]]:
        """One step on every replica; gives all examples' losses and the mean loss parts."""
        replicas, seed = self.replicas, self._seed
        step = self._steps_done()
        seeds = replicas.values(
            lambda replica: tf.constant([seed, step * replicas.count + replica], tf.int32)
        )
        share = step / (self._epochs * self._steps)
        progress = replicas.values(lambda replica: tf.constant(share, tf.float32))
        remembered, parts, self._perturbation = self._step(
            batch.images, batch.targets, seeds, self._perturbation, progress
        )
        losses = replicas.local(remembered)[0].numpy()
        values = {name: float(replicas.local(part)[0]) for name, part in parts.items()}
        if not (np.isfinite(losses).all() and np.isfinite(values["loss"])):
            raise TrainingDivergedError(
                f"The loss is NaN or infinite in step {step + 1} (epoch {self.epoch + 1})"
            )
        return losses, values

    def _draw(self) -> list[Draw]:
        """Every worker draws for all replicas: so all sources of batches stay the same."""
        return self._source.draw(self.replicas.count)

    def _next_batch(self) -> _Batch:
        return self._prepare(self._draw())

    def _prepare(self, draws: list[Draw]) -> _Batch:
        images = self._source.images
        return _Batch(
            draws,
            self.replicas.values(lambda replica: tf.constant(images(draws[replica]))),
            self.replicas.values(lambda replica: tf.constant(draws[replica][1])),
        )

    def _steps_done(self) -> int:
        return self.epoch * self._steps + self.state.progress.step

    def _figures(self) -> dict[str, float]:
        """What an epoch's logs have beside the losses."""
        rate = keras.ops.convert_to_numpy(self.optimizer.learning_rate)
        figures = {"learning_rate": float(rate)}
        if self.method.centroids is not None:
            variance = keras.ops.convert_to_numpy(self.classifier.head.variance)
            figures["variance"] = float(variance)
        return figures

    def end_row(self, logs: dict[str, float]) -> None:
        """Completes the row of the epoch that has just been measured, and begins the next epoch."""
        progress = self.state.progress
        if self._keeps_time and progress.seconds:
            logs["images_per_second"] = progress.images / progress.seconds
            logs["seconds"] = progress.seconds + time.perf_counter() - self._measured_from
        self.state.history.append({"epoch": self.epoch + 1, **logs})
        self.state.progress = EpochProgress()


class _RowEnds(TrainerCallback):
    """Stands between the callbacks that measure and those that record."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        del epoch
        self.trainer.end_row(logs)


def _fix_clusters(head: Any, dim: int) -> None:
    if dim < head.num_clusters:
        raise ValueError(
            f"centroids=fixed needs embeddings of dimension {head.num_clusters}, one for each "
            f"cluster. Received: {dim}"
        )
    head.set_clusters(np.eye(head.num_clusters, dim), variance=1.0)
