"""The loop of a run: steps, epochs, checkpoints."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.clustering import Clusters, NeighbourhoodSampler
from clustr_tf.datasets import AUGMENTATIONS, Dataset
from clustr_tf.errors import InputError, TrainingDivergedError
from clustr_tf.experiment import Experiment
from clustr_tf.objectives import build_objective, has_adversary
from clustr_tf.training.building import build_classifier, in_float32, learning_rate
from clustr_tf.training.checkpoints import Draw, EpochProgress, TrainingState, assign
from clustr_tf.training.distribution import Replicas
from clustr_tf.training.interruption import Interruption
from clustr_tf.training.progress import Reporter
from clustr_tf.training.record import Record
from clustr_tf.training.refresh import Embedder, accuracy, cluster_embeddings
from clustr_tf.training.sources import build_batches
from clustr_tf.training.step import build_step, no_perturbation
from clustr_tf.training.watch import Watch, is_best, warn_of_collapse


class _Batch(NamedTuple):
    """A step's draws and what the compiled step takes of them, one for each replica."""

    draws: list[Draw]
    images: Any
    targets: Any


class Loop:
    """What lives as long as a run: the model, its optimiser, the batches and the compiled step.

    Args:
        experiment: every setting.
        dataset: the loaded data.
        record: the run's files; a checkpoint there is gone on from.
        replicas: the devices.
        interruption: asked after every step.

    Raises:
        InputError: if the checkpoint is of other training images.

    Attributes:
        state: how far the run has come.
    """

    def __init__(
        self,
        experiment: Experiment,
        dataset: Dataset,
        record: Record,
        replicas: Replicas,
        interruption: Interruption,
    ):
        self._experiment, self._dataset, self._record = experiment, dataset, record
        self._replicas, self._interruption = replicas, interruption
        settings = experiment.training
        self._objective = build_objective(experiment.objective)
        with replicas.strategy.scope():
            self._classifier = build_classifier(experiment, dataset)
            self._optimizer = keras.optimizers.Adam(experiment.optimizer.learning_rate)
            self._optimizer.build(self._classifier.trainable_variables)
        self._step = build_step(
            self._classifier,
            self._objective,
            self._optimizer,
            AUGMENTATIONS[experiment.dataset.augmentation],
            replicas,
            settings.jit_compile,
        )
        self._embed = Embedder(self._classifier, replicas, settings.jit_compile)
        self._watch = Watch(self._classifier, experiment.watch, settings.jit_compile)
        checkpoint = record.newest_checkpoint()
        data = dataset.checksum
        if checkpoint is not None and int(checkpoint["data"]) != data:
            raise InputError(
                f"The training images of {dataset.name} are not those that this workdir was "
                "trained on: bring those back, or train in another --workdir"
            )
        self._last_good: str | None = None
        self.state = TrainingState(
            {"classifier": self._classifier.variables, "optimizer": self._optimizer.variables},
            build_batches(
                experiment,
                dataset.train_labels,
                self._classifier,
                self._objective.centroids,
                lambda: self._cluster(self._embed(dataset.train_images), settings.seed),
                checkpoint,
            ),
            history=[],
            progress=EpochProgress(),
            perturbation=no_perturbation(
                self._objective, self._experiment.batch_size * replicas.count, dataset.image_shape
            ),
            data=data,
        )
        if checkpoint is not None:
            self.state.restore(checkpoint)
            self.state.fit_to(replicas.count, self._experiment.batch_size)
            record.resume(self.state)
            self._last_good = self.state.name
        shares = np.split(self.state.perturbation, replicas.count)
        self._perturbation = replicas.values(lambda replica: tf.constant(shares[replica]))
        self._saved_at = time.monotonic()

    def run_epoch(self, reporter: Reporter) -> None:
        """Trains what is left of an epoch, refreshes the clusters, measures and saves."""
        state, settings, dataset = self.state, self._experiment.training, self._dataset
        rate = learning_rate(self._experiment.optimizer, state.epoch, settings.epochs)
        self._optimizer.learning_rate = rate
        self._run_steps(reporter)
        self._check_weights()
        progress, begin = state.progress, time.perf_counter()
        sizes, train_accuracy = self._refresh(seed=settings.seed + state.epoch + 1)
        row = {
            "epoch": state.epoch + 1,
            **{name: total / progress.step for name, total in progress.sums.items()},
            "train_accuracy": train_accuracy,
            **self._tested(),
            **self._watch(dataset.validation_images, dataset.validation_labels, settings.seed),
            "learning_rate": rate,
        }
        if self._objective.centroids is not None:
            row["variance"] = float(keras.ops.convert_to_numpy(self._classifier.head.variance))
        if not settings.deterministic:
            row["images_per_second"] = progress.images / progress.seconds
            row["seconds"] = progress.seconds + time.perf_counter() - begin
        state.history.append(row)
        state.progress = EpochProgress()
        if has_adversary(self._experiment.objective):  # others have no robustness to lose
            warn_of_collapse(state.history, self._experiment.watch.collapse)
        if settings.checkpoint == "best_pgd" and is_best(state.history):
            self._record.save_best(self._model_variables())
        self._gather_perturbation()
        self._record.end_epoch(state, sizes)
        self._note_checkpoint()
        reporter.epoch_ends(row)
        if self._replicas.any(self._interruption.requested)[0]:
            self._interruption.leave()

    def finished_classifier(self) -> Classifier:
        """The classifier that the run is for, saved as the workdir's model."""
        settings = self._experiment.training
        if settings.checkpoint == "best_pgd":
            assign(self._model_variables(), self._record.best())
        if settings.precision != "float32":
            with self._replicas.strategy.scope():
                self._classifier = in_float32(self._experiment, self._dataset, self._classifier)
            self._embed = Embedder(self._classifier, self._replicas, settings.jit_compile)
            self._refresh(seed=settings.seed + settings.epochs)
        self._record.save_classifier(self._classifier)
        return self._classifier

    def _run_steps(self, reporter: Reporter) -> None:
        """The steps that the epoch lacks; the next batch is drawn while the device is busy.

        So a draw does not know the losses of the step before it, only those of older ones.
        """
        progress, steps = self.state.progress, self._steps_per_epoch()
        epochs = self._experiment.training.epochs
        reporter.epoch_begins(self.state.epoch + 1, epochs, steps, progress.step)
        if progress.step >= steps:  # more only if the session before had fewer replicas
            return
        with ThreadPoolExecutor(1, "next-batch") as executor:
            batch = self._prepare(progress.pending or self._draw())
            while progress.step < steps:
                begin = time.perf_counter()
                is_last = progress.step + 1 == steps
                following = None if is_last else executor.submit(self._next_batch)
                losses, parts = self._run_step(batch)
                progress.step += 1
                progress.pending = []
                draws = batch.draws
                if following:
                    batch = following.result()
                    progress.pending = batch.draws
                self._remember(draws, losses)
                for name, value in parts.items():
                    progress.sums[name] = progress.sums.get(name, 0.0) + value
                progress.images += len(losses)
                progress.seconds += time.perf_counter() - begin
                reporter.step_ends(parts["loss"])
                self._save_if_due()

    def _run_step(self, batch: _Batch) -> tuple[np.ndarray, dict[str, float]]:
        """One step on every replica; gives all examples' losses and the mean loss parts."""
        replicas, seed = self._replicas, self._experiment.training.seed
        step = self._steps_done()
        seeds = replicas.values(
            lambda replica: tf.constant([seed, step * replicas.count + replica], tf.int32)
        )
        share = step / (self._experiment.training.epochs * self._steps_per_epoch())
        progress = replicas.values(lambda replica: tf.constant(share, tf.float32))
        remembered, parts, self._perturbation = self._step(
            batch.images, batch.targets, seeds, self._perturbation, progress
        )
        losses = replicas.local(remembered)[0].numpy()
        values = {name: float(replicas.local(part)[0]) for name, part in parts.items()}
        if not (np.isfinite(losses).all() and np.isfinite(values["loss"])):
            raise self._diverged(
                f"The loss is NaN or infinite in step {step + 1} (epoch {self.state.epoch + 1})"
            )
        return losses, values

    def _remember(self, draws: list[Draw], losses: np.ndarray) -> None:
        ends = np.cumsum([len(indices) for indices, _ in draws])
        for (indices, _), share in zip(draws, np.split(losses, ends[:-1]), strict=True):
            self.state.batches.update_losses(indices, share)

    def _draw(self) -> list[Draw]:
        """Every worker draws for all replicas: so all sources of batches stay the same."""
        return [self.state.batches.sample() for _ in range(self._replicas.count)]

    def _next_batch(self) -> _Batch:
        return self._prepare(self._draw())

    def _prepare(self, draws: list[Draw]) -> _Batch:
        images = self._dataset.train_images
        return _Batch(
            draws,
            self._replicas.values(lambda replica: tf.constant(images[draws[replica][0]])),
            self._replicas.values(lambda replica: tf.constant(draws[replica][1])),
        )

    def _save_if_due(self) -> None:
        minutes = (time.monotonic() - self._saved_at) / 60
        due = minutes >= self._experiment.training.checkpoint_minutes
        asked_to_leave, due = self._replicas.any(self._interruption.requested, due)
        if asked_to_leave or due:
            self._check_weights()
            self._gather_perturbation()
            self._record.save_state(self.state)
            self._note_checkpoint()
        if asked_to_leave:
            self._interruption.leave()

    def _note_checkpoint(self) -> None:
        self._last_good, self._saved_at = self.state.name, time.monotonic()

    def _check_weights(self) -> None:
        """A state that is saved can be gone on from."""
        weights = map(keras.ops.convert_to_numpy, self._classifier.variables)
        if not all(np.isfinite(weight).all() for weight in weights):
            raise self._diverged(f"A weight is NaN or infinite after step {self._steps_done()}")

    def _diverged(self, what: str) -> TrainingDivergedError:
        kept = f"The last good checkpoint is {self._last_good}"
        return TrainingDivergedError(
            f"{what}. {kept if self._last_good else 'No checkpoint had been saved'}. "
            "Try a smaller config.optimizer.learning_rate in a new workdir"
        )

    def _gather_perturbation(self) -> None:
        if self._objective.free:
            self.state.perturbation = self._replicas.gathered(self._perturbation)

    def _tested(self) -> dict[str, float]:
        """The accuracy on test images; nothing if there are none, as in the trials of a search."""
        tested = slice(self._experiment.evaluation.examples)
        images, labels = self._dataset.test_images[tested], self._dataset.test_labels[tested]
        if not len(labels):
            return {}
        return {"test_accuracy": accuracy(self._classifier, self._embed(images), labels)}

    def _refresh(self, seed: int) -> tuple[np.ndarray | None, float]:
        """Clusters anew where there are clusters; gives their sizes and the train accuracy."""
        embeddings, batches = self._embed(self._dataset.train_images), self.state.batches
        sizes = None
        if isinstance(batches, NeighbourhoodSampler):
            clusters = self._cluster(embeddings, seed)
            batches.set_clusters(clusters.assignments, clusters.centroids)
            sizes = np.bincount(clusters.assignments, minlength=len(clusters.centroids))
        return sizes, accuracy(self._classifier, embeddings, self._dataset.train_labels)

    def _cluster(self, embeddings: np.ndarray, seed: int) -> Clusters:
        """Clusters of the training embeddings; the head gets them."""
        try:
            clusters = cluster_embeddings(
                embeddings,
                self._dataset.train_labels,
                self._experiment.clustering,
                seed,
                self._replicas,
            )
        except ValueError as error:
            raise self._diverged(f"The training set cannot be clustered: {error}") from error
        temperature = self._experiment.clustering.temperature
        self._classifier.head.set_clusters(clusters.centroids, temperature * clusters.variance)
        return clusters

    def _steps_done(self) -> int:
        return self.state.epoch * self._steps_per_epoch() + self.state.progress.step

    def _steps_per_epoch(self) -> int:
        step_size = self._experiment.batch_size * self._replicas.count
        whole_batches = len(self._dataset.train_labels) // step_size
        return self._experiment.training.steps_per_epoch or max(whole_batches, 1)

    def _model_variables(self) -> dict[str, Sequence[keras.Variable]]:
        return {"classifier": self._classifier.variables}
