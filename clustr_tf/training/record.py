"""What a run writes into its workdir: checkpoints, the best epoch, metrics, TensorBoard, model."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from clustr_tf.classifier import Classifier
from clustr_tf.errors import RunError
from clustr_tf.experiment import Experiment
from clustr_tf.files import write_arrays
from clustr_tf.training.checkpoints import (
    TrainingState,
    packed,
    read_arrays,
    read_checkpoint,
    save_checkpoint,
    unpacked,
    variable_arrays,
)
from clustr_tf.training.distribution import Replicas
from clustr_tf.training.metrics import write_metrics
from clustr_tf.training.tensorboard import TensorBoard
from clustr_tf.workdir import Workdir


class Record:
    """The files of a run. Only the chief writes and reads them; the others are sent what it read.

    Args:
        workdir: where they lie.
        experiment: for TensorBoard's table of hyper-parameters.
        replicas: the workers.

    Raises:
        RunError: by every method that writes, if a file cannot be written.
    """

    def __init__(self, workdir: Workdir, experiment: Experiment, replicas: Replicas):
        self._workdir, self._replicas = workdir, replicas
        self._best = workdir.checkpoints / "best.npz"
        self._tensorboard = None
        if replicas.is_chief:
            with self._workdir.writing():
                self._tensorboard = TensorBoard(workdir.tensorboard, experiment)

    def newest_checkpoint(self) -> dict[str, np.ndarray] | None:
        """The newest intact state, on every worker; None if there is none."""
        arrays = read_checkpoint(self._workdir.checkpoints) if self._replicas.is_chief else None
        return unpacked(self._replicas.broadcast(packed(arrays)))

    def save_state(self, state: TrainingState) -> None:
        """Writes a checkpoint."""
        if self._replicas.is_chief:
            with self._workdir.writing():
                save_checkpoint(self._workdir.checkpoints, state)

    def save_best(self, variables: Mapping[str, Sequence[keras.Variable]]) -> None:
        """Keeps the model of the best epoch so far."""
        if self._replicas.is_chief:
            with self._workdir.writing():
                write_arrays(self._best, variable_arrays(variables))

    def best(self) -> dict[str, np.ndarray]:
        """The model of the best epoch, on every worker.

        Raises:
            RunError: if its file is damaged.
        """
        arrays = None
        if self._replicas.is_chief:
            try:
                arrays = read_arrays(self._best)
            except ValueError as error:
                raise RunError(
                    f"{self._best} is damaged ({error}): the best epoch is lost. "
                    "Train anew in another workdir"
                ) from error
        return unpacked(self._replicas.broadcast(packed(arrays))) or {}

    def end_epoch(self, state: TrainingState, cluster_sizes: np.ndarray | None) -> None:
        """Records the epoch that has just been finished.

        Args:
            state: its history ends with the epoch's row.
            cluster_sizes: int `[C*K]`, if there are clusters.
        """
        self.save_state(state)
        self._log(state, cluster_sizes)

    def resume(self, state: TrainingState) -> None:
        """Records what a session that was killed had saved, but perhaps not recorded yet."""
        if state.history:
            self._log(state, None)

    def save_classifier(self, classifier: Classifier) -> None:
        """Writes the finished model."""
        if self._replicas.is_chief:
            with self._workdir.writing():
                self._workdir.save_classifier(classifier)

    def _log(self, state: TrainingState, cluster_sizes: np.ndarray | None) -> None:
        if self._tensorboard:
            with self._workdir.writing():
                write_metrics(self._workdir.metrics, state.history)
                self._tensorboard.log_epoch(state.history[-1], cluster_sizes)
