"""Training: batches in, a finished classifier out, resumable at every step."""

from typing import NamedTuple

import keras
import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.datasets import Dataset
from clustr_tf.experiment import Experiment, check_fits
from clustr_tf.training.distribution import LostWorkerError, Replicas, connect, told_in_short
from clustr_tf.training.interruption import Interruption
from clustr_tf.training.loop import Loop
from clustr_tf.training.metrics import Row
from clustr_tf.training.progress import Reporter
from clustr_tf.training.record import Record
from clustr_tf.workdir import Workdir


class Trained(NamedTuple):
    """A finished run.

    Attributes:
        classifier: computes in float32; its clusters are those of its weights.
        history: the rows of metrics.csv.
    """

    classifier: Classifier
    history: list[Row]


def train(
    experiment: Experiment,
    dataset: Dataset,
    workdir: Workdir,
    reporter: Reporter,
    replicas: Replicas | None = None,
) -> Trained:
    """Trains a classifier, resuming from the workdir's newest checkpoint if there is one.

    Several workers call this with the same arguments; the chief alone touches the workdir.

    Args:
        experiment: every setting.
        dataset: the loaded data.
        workdir: receives config, checkpoints, metrics and the final model.
        reporter: hears of the progress.
        replicas: the devices; None for those of `experiment.training.strategy`.

    Returns:
        The classifier, also saved as the workdir's model, and its history.

    Raises:
        InputError: if settings and data do not fit, the workdir holds another experiment or one
            with other training images, or another process is training in it.
        TrainingDivergedError: if the loss or a weight is NaN or infinite; no such state is saved,
            the last checkpoint stays.
        LostWorkerError: if another worker is gone; the last checkpoint stays.
        RunError: if a file cannot be written; the last checkpoint stays.
        KeyboardInterrupt, TerminatedError: after Ctrl-C and SIGTERM; the state is saved.

    Example:
        >>> train(experiment, load_dataset(experiment.dataset), Workdir(Path("runs/a")), reporter)
    """
    check_fits(experiment, dataset)
    replicas = replicas or connect(experiment.training.strategy)
    if experiment.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(experiment.training.seed)
    try:
        with workdir.claimed(experiment, replicas.is_chief), Interruption() as interruption:
            record = Record(workdir, experiment, replicas)
            loop = Loop(experiment, dataset, record, replicas, interruption)
            while loop.state.epoch < experiment.training.epochs:
                loop.run_epoch(reporter)
            return Trained(loop.finished_classifier(), loop.state.history)
    except replicas.lost_worker_errors as error:
        raise LostWorkerError(
            f"Another worker is gone ({told_in_short(error)}). The last checkpoint is intact: "
            "start all workers again with the same commands to resume"
        ) from error
