"""A run: trains in a workdir, resumable at every step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from clustr_tf.classifier import Classifier, Embedder
from clustr_tf.data import Dataset
from clustr_tf.methods.base import Method
from clustr_tf.run.distribution import LostWorkerError, Replicas, connect, told_in_short
from clustr_tf.run.errors import InputError, TrainingDivergedError
from clustr_tf.run.interruption import Interruption
from clustr_tf.run.workdir import Workdir
from clustr_tf.train.callbacks.record import (
    Checkpoint,
    KeepBest,
    LeaveAfterEpoch,
    RecordEpochs,
    Row,
)
from clustr_tf.train.callbacks.watch import Watch, WatchRobustness
from clustr_tf.train.checkpoints import assign
from clustr_tf.train.settings import Clustering, Training
from clustr_tf.train.trainer import Augment, Trainer, TrainingImages


@dataclass(frozen=True)
class Plan:
    """The parts of a run, each an object.

    Attributes:
        build_classifier: an untrained classifier; of a Keras dtype policy, or the run's own.
        build_optimizer: a fresh optimizer at its first learning rate.
        method: gives the losses.
        learning_rate: of an epoch, counted from 0.
        clustering: of methods with clusters.
        augment: (images in [0, 1], seed) -> images.
        training: how long, how seeded, on what.
        watch: what is measured on held-out images.
    """

    build_classifier: Callable[..., Classifier]
    build_optimizer: Callable[[], keras.optimizers.Optimizer]
    method: Method
    learning_rate: Callable[[int], float]
    clustering: Clustering
    augment: Augment
    training: Training
    watch: Watch


class Trained(NamedTuple):
    """A finished run.

    Attributes:
        classifier: computes in float32; its clusters are those of its weights.
        history: a row an epoch, named as in Keras' logs.
    """

    classifier: Classifier
    history: list[Row]


def train(
    plan: Plan,
    dataset: Dataset,
    workdir: Workdir,
    config: Mapping[str, Any],
    replicas: Replicas | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Trained:
    """Trains a classifier, resuming from the workdir's newest checkpoint if there is one.

    Several workers call this with the same arguments; the chief alone touches the workdir.

    Args:
        plan: what to train.
        dataset: the loaded data.
        workdir: receives config, checkpoints, metrics and the final model.
        config: the plan as config.json has it.
        replicas: the devices; None for those of `plan.training.strategy`.
        callbacks: further ones, such as a progress bar; they hear of complete rows.

    Returns:
        The classifier, also saved as the workdir's model, and its history.

    Raises:
        InputError: if the parts and the data do not fit, the workdir holds another run or one
            with other training images, or another process is training in it.
        TrainingDivergedError: if the loss or a weight is NaN or infinite; no such state is saved,
            the last checkpoint stays.
        LostWorkerError: if another worker is gone; the last checkpoint stays.
        RunError: if a file cannot be written; the last checkpoint stays.
        KeyboardInterrupt, TerminatedError: after Ctrl-C and SIGTERM; the state is saved.

    Example:
        >>> train(experiment.plan(dataset), dataset, Workdir(Path("runs/a")), experiment.values)
    """
    training = plan.training
    replicas = replicas or connect(training.strategy)
    if training.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(training.seed)
    try:
        with workdir.claimed(config, replicas.is_chief), Interruption() as interruption:
            return _train(plan, dataset, workdir, config, replicas, callbacks, interruption)
    except replicas.lost_worker_errors as error:
        raise LostWorkerError(
            f"Another worker is gone ({told_in_short(error)}). The last checkpoint is intact: "
            "start all workers again with the same commands to resume"
        ) from error


def _train(
    plan: Plan,
    dataset: Dataset,
    workdir: Workdir,
    config: Mapping[str, Any],
    replicas: Replicas,
    callbacks: Sequence[keras.callbacks.Callback],
    interruption: Interruption,
) -> Trained:
    training, checksum = plan.training, dataset.checksum
    recorders: list[keras.callbacks.Callback] = []
    best = KeepBest(workdir, replicas)
    if training.checkpoint == "best_pgd":
        recorders.append(best)
    saver = Checkpoint(workdir, replicas, training.checkpoint_minutes, interruption)
    recorders.append(saver)
    if replicas.is_chief:
        recorders.append(RecordEpochs(workdir, config))
    checkpoint = saver.newest()
    if checkpoint is not None and int(checkpoint["data"]) != checksum:
        raise InputError(
            f"The training images of {dataset.name} are not those that this workdir was "
            "trained on: bring those back, or train in another --workdir"
        )
    try:
        with replicas.strategy.scope():
            classifier = plan.build_classifier()
            classifier.compile(plan.build_optimizer(), plan.method)
        trainer = Trainer(
            classifier,
            plan.method,
            classifier.optimizer,
            TrainingImages(dataset.train_images, dataset.train_labels),
            batch_size=None if plan.method.needs_neighbourhoods else training.batch_size,
            steps_per_epoch=training.steps_per_epoch,
            clustering=plan.clustering,
            augment=plan.augment,
            seed=training.seed,
            replicas=replicas,
            jit_compile=training.jit_compile is True,
            keeps_time=not training.deterministic,
            checkpoint=checkpoint,
            checksum=checksum,
        )
        trainer.train(
            training.epochs,
            callbacks=[
                keras.callbacks.LearningRateScheduler(lambda epoch, _: plan.learning_rate(epoch)),
                _watch(plan, classifier, dataset),
            ],
            recorders=[*recorders, *callbacks, LeaveAfterEpoch(saver)],
        )
        if training.checkpoint == "best_pgd":
            assign({"classifier": classifier.variables}, best.best())
        finished = _finished(plan, trainer)
    except TrainingDivergedError as error:
        kept = f"The last good checkpoint is {saver.last_good}"
        raise TrainingDivergedError(
            f"{error}. {kept if saver.last_good else 'No checkpoint had been saved'}. "
            "Try a smaller config.optimizer.learning_rate in a new workdir"
        ) from error
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"config: {error}") from error
    if replicas.is_chief:
        with workdir.writing():
            workdir.save_classifier(finished)
    return Trained(finished, trainer.state.history)


def _watch(plan: Plan, classifier: Classifier, dataset: Dataset) -> WatchRobustness:
    return WatchRobustness(
        classifier,
        dataset.validation_images,
        dataset.validation_labels,
        plan.watch,
        plan.training.seed,
        plan.training.jit_compile is True,
    )


def _finished(plan: Plan, trainer: Trainer) -> Classifier:
    """The classifier that the run is for: in float32, without an optimizer."""
    trained, training = trainer.classifier, plan.training
    if training.precision != "mixed_bfloat16":
        return Classifier(
            trained.backbone, trained.head, trained.mean, trained.std, name=trained.name
        )
    with trainer.replicas.strategy.scope():
        finished = plan.build_classifier("float32")
    finished.set_weights(trained.get_weights())
    if trainer.refresh:
        embed = Embedder(finished, trainer.replicas, training.jit_compile is True)
        trainer.refresh.of(finished, embed, trainer.replicas).find(training.seed + training.epochs)
    return finished
