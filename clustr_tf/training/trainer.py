"""Training: neighbourhoods in, a clustered classifier out."""

import time

import keras
import numpy as np
import tensorflow as tf

from clustr_tf.backbones import build_backbone
from clustr_tf.classifier import Classifier
from clustr_tf.clustering import NeighbourhoodSampler
from clustr_tf.datasets import AUGMENTATIONS, Dataset
from clustr_tf.errors import RunError
from clustr_tf.experiment import Experiment, check_fits
from clustr_tf.layers import ClusteringHead
from clustr_tf.objectives import build_objective
from clustr_tf.training.checkpoints import TrainingState, restore_checkpoint, save_checkpoint
from clustr_tf.training.distribution import STRATEGIES
from clustr_tf.training.metrics import Row, log_to_tensorboard, write_metrics
from clustr_tf.training.progress import Reporter
from clustr_tf.training.refresh import Embedder, Refresh, accuracy, refresh_clusters
from clustr_tf.training.settings import OptimizerConfig
from clustr_tf.training.step import build_step
from clustr_tf.workdir import Workdir

_WHAT_TO_TRY = "Try a smaller config.optimizer.learning_rate in a new workdir"


class TrainingDivergedError(RunError):
    """The loss is no longer a finite number, or the embeddings cannot be clustered."""


def train(
    experiment: Experiment, dataset: Dataset, workdir: Workdir, reporter: Reporter
) -> Classifier:
    """Trains a classifier, resuming from the workdir's newest checkpoint if there is one.

    Args:
        experiment: every setting.
        dataset: the loaded data.
        workdir: receives config, checkpoints, metrics and the final model.
        reporter: hears of the progress.

    Returns:
        The trained classifier, its clusters refreshed with the final weights.

    Raises:
        InputError: if settings and data do not fit, or the workdir holds another experiment.
        TrainingDivergedError: if a loss is NaN or infinite; the last checkpoint stays.

    Example:
        >>> train(experiment, load_dataset(experiment.dataset), Workdir(Path("runs/a")), reporter)
    """
    check_fits(experiment, dataset)
    workdir.claim(experiment)
    keras.utils.set_random_seed(experiment.training.seed)
    trainer = _Trainer(experiment, dataset)
    restore_checkpoint(workdir.checkpoints, trainer.state)
    write_metrics(workdir.metrics, trainer.state.history)
    writer = tf.summary.create_file_writer(str(workdir.tensorboard))
    while trainer.state.epoch < experiment.training.epochs:
        row = trainer.run_epoch(reporter)
        save_checkpoint(workdir.checkpoints, trainer.state)
        write_metrics(workdir.metrics, trainer.state.history)
        log_to_tensorboard(writer, row)
    writer.close()
    workdir.save_classifier(trainer.classifier)
    return trainer.classifier


def build_classifier(experiment: Experiment, dataset: Dataset) -> Classifier:
    """An untrained classifier for the data.

    Args:
        experiment: backbone, K and L.
        dataset: shapes and pixel statistics.

    Returns:
        The classifier; its head has no clusters yet.
    """
    backbone = build_backbone(
        experiment.backbone.name, dataset.image_shape, width=experiment.backbone.width
    )
    head = ClusteringHead(
        dataset.num_classes,
        experiment.clustering.clusters_per_class,
        nearest=experiment.clustering.nearest,
        normalize=experiment.clustering.normalize,
        name="clustering_head",
    )
    return Classifier(backbone, head, dataset.mean, dataset.std, name="classifier")


def learning_rate(config: OptimizerConfig, epoch: int) -> float:
    """The learning rate of an epoch.

    Args:
        config: rate, milestones and decay.
        epoch: how many epochs are finished, from 0.

    Returns:
        `rate * decay ** (milestones passed)`.

    Example:
        >>> learning_rate(OptimizerConfig(1e-4, milestones=(30, 60)), epoch=30)  # 1e-5
    """
    passed = sum(epoch >= milestone for milestone in config.milestones)
    return config.learning_rate * config.decay**passed


class _Trainer:
    """What lives as long as a run: the model, its optimiser, the sampler and the compiled step."""

    def __init__(self, experiment: Experiment, dataset: Dataset):
        self._experiment, self._dataset = experiment, dataset
        settings = experiment.training
        self._strategy = STRATEGIES[settings.strategy]()
        with self._strategy.scope():
            self.classifier = build_classifier(experiment, dataset)
            self._optimizer = keras.optimizers.Adam(experiment.optimizer.learning_rate)
            self._optimizer.build(self.classifier.trainable_variables)
        self._step = build_step(
            self.classifier,
            build_objective(experiment.objective),
            self._optimizer,
            AUGMENTATIONS[experiment.dataset.augmentation],
            self._strategy,
            settings.jit_compile,
        )
        self._embed = Embedder(self.classifier, settings.jit_compile)
        clusters = self._refresh(seed=settings.seed).clusters
        sampler = NeighbourhoodSampler(
            dataset.train_labels,
            clusters.assignments,
            clusters.centroids,
            experiment.clustering.clusters_per_batch,
            experiment.clustering.examples_per_cluster,
            seed=settings.seed,
        )
        variables = {
            "classifier": self.classifier.variables,
            "optimizer": self._optimizer.variables,
        }
        self.state = TrainingState(variables, sampler, history=[])

    def run_epoch(self, reporter: Reporter) -> Row:
        """Trains one epoch, refreshes the clusters and appends the epoch's row to the history."""
        epoch, settings = self.state.epoch, self._experiment.training
        steps = settings.steps_per_epoch or self._whole_batches()
        rate = learning_rate(self._experiment.optimizer, epoch)
        self._optimizer.learning_rate = rate
        reporter.epoch_begins(epoch + 1, settings.epochs, steps)
        begin = time.perf_counter()
        parts, images = [], 0
        for step in range(epoch * steps, (epoch + 1) * steps):
            losses, count = self._run_step(step)
            parts.append(losses)
            images += count
            reporter.step_ends(losses["loss"])
        images_per_second = images / (time.perf_counter() - begin)
        refresh = self._refresh(seed=settings.seed + epoch + 1)
        self.state.sampler.set_clusters(refresh.clusters.assignments, refresh.clusters.centroids)
        row = {
            "epoch": epoch + 1,
            **{name: float(np.mean([part[name] for part in parts])) for name in parts[0]},
            "train_accuracy": refresh.train_accuracy,
            "test_accuracy": accuracy(
                self.classifier,
                self._embed(self._dataset.test_images),
                self._dataset.test_labels,
            ),
            "variance": float(refresh.clusters.variance),
            "learning_rate": rate,
            "images_per_second": images_per_second,
            "seconds": time.perf_counter() - begin,
        }
        self.state.history.append(row)
        reporter.epoch_ends(row)
        return row

    def _run_step(self, step: int) -> tuple[dict[str, float], int]:
        """One step on every replica; gives the mean loss parts and the number of images."""
        replicas = self._strategy.num_replicas_in_sync
        draws = [self.state.sampler.sample() for _ in range(replicas)]
        seed = self._experiment.training.seed

        def batch(context: tf.distribute.ReplicaContext) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            replica = context.replica_id_in_sync_group
            indices, targets = draws[replica]
            return (
                tf.constant(self._dataset.train_images[indices]),
                tf.constant(targets),
                tf.constant([seed, step * replicas + replica], tf.int32),
            )

        values = self._strategy.experimental_distribute_values_from_function(batch)
        remembered, parts = self._step(*values)
        local = self._strategy.experimental_local_results
        for (indices, _), losses in zip(draws, local(remembered), strict=True):
            self.state.sampler.update_losses(indices, self._finite(losses.numpy(), step))
        means = {
            name: float(np.mean([value.numpy() for value in local(part)]))
            for name, part in parts.items()
        }
        return means, sum(len(indices) for indices, _ in draws)

    def _finite(self, losses: np.ndarray, step: int) -> np.ndarray:
        if not np.isfinite(losses).all():
            raise TrainingDivergedError(
                f"The loss is NaN or infinite in step {step + 1} (epoch {self.state.epoch + 1}). "
                f"The checkpoint after epoch {self.state.epoch} is intact. {_WHAT_TO_TRY}"
            )
        return losses

    def _refresh(self, seed: int) -> Refresh:
        try:
            return refresh_clusters(
                self.classifier,
                self._embed,
                self._dataset.train_images,
                self._dataset.train_labels,
                self._experiment.clustering,
                seed,
            )
        except ValueError as error:
            raise TrainingDivergedError(
                f"The training set cannot be clustered after this epoch: {error}. {_WHAT_TO_TRY}"
            ) from error

    def _whole_batches(self) -> int:
        clustering = self._experiment.clustering
        batch = clustering.clusters_per_batch * clustering.examples_per_cluster
        return max(len(self._dataset.train_labels) // batch, 1)
