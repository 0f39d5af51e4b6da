"""What a run writes into its workdir: checkpoints, the best epoch, metrics, TensorBoard."""

import csv
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.projector import ProjectorConfig

from clustr_tf.run.distribution import Replicas
from clustr_tf.run.errors import RunError
from clustr_tf.run.files import replacing, write_arrays
from clustr_tf.run.interruption import Interruption
from clustr_tf.run.workdir import Workdir, leaves
from clustr_tf.train.callbacks.base import TrainerCallback
from clustr_tf.train.callbacks.refresh import RefreshClusters
from clustr_tf.train.checkpoints import (
    packed,
    read_arrays,
    read_checkpoint,
    save_checkpoint,
    unpacked,
    variable_arrays,
)

Row = dict[str, float]

COLUMNS = (
    "epoch",
    "train/loss",
    "train/accuracy",
    "validation/accuracy",
    "validation/pgd_accuracy",
    "learning_rate",
    "images_per_second",
    "seconds",
    "variance",
)
_WITHOUT_SPLIT = ("epoch", "learning_rate", "images_per_second", "seconds", "variance")


def split_name(name: str) -> str:
    """The name of a figure with the images that it was measured on.

    Args:
        name: as in Keras' logs: `val_` stands before figures of held-out images.

    Returns:
        `train/...`, `validation/...`, or the name itself where it is no figure of images.

    Example:
        >>> split_name("val_pgd_accuracy")  # 'validation/pgd_accuracy'
    """
    if name in _WITHOUT_SPLIT:
        return name
    return f"validation/{name[4:]}" if name.startswith("val_") else f"train/{name}"


def write_metrics(path: Path, history: Sequence[Row]) -> None:
    """Writes metrics.csv anew from the whole history: no row twice, none lost.

    Args:
        path: the file.
        history: a row an epoch, named as in Keras' logs; names that `COLUMNS` lacks follow it (the
            loss's parts), figures that were not measured stay empty.
    """
    rows = [{split_name(name): value for name, value in row.items()} for row in history]
    further = sorted({name for row in rows for name in row} - set(COLUMNS))
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *further], restval="")
        writer.writeheader()
        writer.writerows(rows)


def read_metrics(path: Path) -> list[Row]:
    """Reads metrics.csv.

    Args:
        path: the file.

    Returns:
        A row an epoch, without the figures that were not measured.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{name: float(value) for name, value in row.items() if value} for row in rows]


def chosen_row(history: Sequence[Row], checkpoint: str) -> Row:
    """The row of the epoch that became the model.

    Args:
        history: rows of `read_metrics`, at least one.
        checkpoint: "last", or "best_pgd": the first of the epochs with the best PGD accuracy.

    Returns:
        The row.

    Example:
        >>> best, column = 0.5, "validation/pgd_accuracy"
        >>> chosen_row([{column: best}, {column: 0.4}], "best_pgd")
        {'validation/pgd_accuracy': 0.5}
    """
    if checkpoint == "last":
        return history[-1]
    return max(history, key=lambda row: row["validation/pgd_accuracy"])


def hparam_value(value: object) -> bool | int | float | str:
    """A setting as TensorBoard's hyper-parameters take it."""
    return value if isinstance(value, bool | int | float) else str(value)


class TensorBoard:
    """The run's tensorboard folder: scalars and cluster sizes every epoch, the rest at the end.

    Every session of a run adds an event file and logs the newest epoch again, as the session
    before may have been killed in between: TensorBoard shows the same point twice. The record
    without repetition is metrics.csv.

    Args:
        folder: of the run.
        config: nested mappings, shown as hyper-parameters.

    Raises:
        OSError: by every method that writes, if a file cannot be written.

    Example:
        >>> TensorBoard(Path("runs/a/tensorboard"), config).log_epoch(row, None)
    """

    def __init__(self, folder: Path, config: Mapping[str, object]):
        self._folder = folder
        with _os_errors():
            self._writer = tf.summary.create_file_writer(str(folder))
        with _os_errors(), self._writer.as_default():
            hparams.hparams({name: hparam_value(value) for name, value in leaves(config).items()})

    def log_epoch(self, row: Mapping[str, float], cluster_sizes: np.ndarray | None) -> None:
        """Logs one epoch's figures under metric names with a path.

        Args:
            row: of metrics.csv.
            cluster_sizes: int `[C*K]`, if there are clusters.
        """
        with _os_errors(), self._writer.as_default(step=int(row["epoch"])):
            for name, value in row.items():
                if name not in ("epoch", "seconds"):
                    tf.summary.scalar(split_name(name), value)
            if cluster_sizes is not None:
                tf.summary.histogram("clusters/sizes", cluster_sizes)

    def log_radii(self, radii: Mapping[str, np.ndarray], epoch: int) -> None:
        """Logs the certified radii of the finished model as histograms.

        Args:
            radii: by norm, `[N]` in pixels.
            epoch: finished epochs.
        """
        with _os_errors(), self._writer.as_default(step=epoch):
            for norm, values in radii.items():
                tf.summary.histogram(f"test/certified_radius_{norm}", values)

    def write_projector(
        self, embeddings: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]
    ) -> None:
        """Writes the embeddings for TensorBoard's projector.

        Args:
            embeddings: `[N, dim]`.
            labels: int64 `[N]`.
            class_names: one a class.
        """
        _write_table(self._folder / "embeddings.tsv", embeddings)
        _write_table(self._folder / "classes.tsv", [[class_names[label]] for label in labels])
        config = ProjectorConfig()
        embedding = config.embeddings.add()
        embedding.tensor_name = "test embeddings"
        embedding.tensor_path, embedding.metadata_path = "embeddings.tsv", "classes.tsv"
        with replacing(self._folder / "projector_config.pbtxt") as temporary:
            temporary.write_text(str(config), encoding="utf-8")

    def close(self) -> None:
        """Closes the event file."""
        with _os_errors():
            self._writer.close()


@contextmanager
def _os_errors() -> Iterator[None]:
    """TensorFlow tells of a full disk by errors of its own, in several lines."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(error.message.splitlines()[0].split("}} ")[-1]) from error


def _write_table(path: Path, rows: Iterable[Iterable[object]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)


class Checkpoint(TrainerCallback):
    """Saves the state after every epoch, every so many minutes and when asked to leave.

    Only the chief writes and reads; the other workers are sent what it read.

    Args:
        workdir: whose checkpoints they are.
        replicas: the workers.
        minutes: between two states that are saved inside an epoch.
        interruption: asked after every step; None for none.

    Raises:
        RunError: if a file cannot be written.

    Attributes:
        last_good: name of the newest checkpoint; None before the first.

    Example:
        >>> checkpoint = Checkpoint(Workdir(Path("runs/a")), replicas)
        >>> trainer = Trainer(..., checkpoint=checkpoint.newest())
        >>> trainer.train(epochs=40, recorders=[checkpoint])
    """

    def __init__(
        self,
        workdir: Workdir,
        replicas: Replicas,
        minutes: float = 10.0,
        interruption: Interruption | None = None,
    ):
        super().__init__()
        self._workdir, self._replicas, self._minutes = workdir, replicas, minutes
        self._interruption = interruption
        self.last_good: str | None = None
        self._saved_at = time.monotonic()

    def newest(self) -> Mapping[str, np.ndarray] | None:
        """The newest intact state, on every worker; None if there is none."""
        arrays = read_checkpoint(self._workdir.checkpoints) if self._replicas.is_chief else None
        return _everywhere(self._replicas, arrays)

    def on_train_begin(self, logs: Any = None) -> None:
        del logs
        if self.trainer.state.resumed:
            self.last_good = self.trainer.state.name
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        due = (time.monotonic() - self._saved_at) / 60 >= self._minutes
        asked_to_leave, due = self._replicas.any(self._asked_to_leave(), due)
        if asked_to_leave or due:
            self.trainer.check_weights()
            self._save()
        if asked_to_leave:
            self._leave()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        del epoch, logs
        self._save()

    def leave_if_asked(self) -> None:
        """Ends the program where the signal came while an epoch was being measured."""
        if self._replicas.any(self._asked_to_leave())[0]:
            self._leave()

    def _asked_to_leave(self) -> bool:
        return self._interruption is not None and self._interruption.requested

    def _leave(self) -> None:
        assert self._interruption is not None  # of one worker; all of them have one
        self._interruption.leave()

    def _save(self) -> None:
        state = self.trainer.complete_state()
        if self._replicas.is_chief:
            with self._workdir.writing():
                save_checkpoint(self._workdir.checkpoints, state)
        self.last_good, self._saved_at = state.name, time.monotonic()


class LeaveAfterEpoch(TrainerCallback):
    """Comes last: a signal that was heard while the epoch was measured and recorded.

    Args:
        checkpoint: has saved the epoch.
    """

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self._checkpoint = checkpoint

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        del epoch, logs
        self._checkpoint.leave_if_asked()


class KeepBest(TrainerCallback):
    """Keeps the model of the first of the epochs with the best PGD accuracy.

    Args:
        workdir: where it is kept.
        replicas: the workers; the chief writes and reads.

    Raises:
        RunError: if the file cannot be written, or is damaged when it is asked for.
    """

    def __init__(self, workdir: Workdir, replicas: Replicas):
        super().__init__()
        self._workdir, self._replicas = workdir, replicas
        self._path = workdir.checkpoints / "best.npz"

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        del epoch, logs
        measured = [row["val_pgd_accuracy"] for row in self.trainer.state.history]
        if self._replicas.is_chief and is_best(measured):
            with self.trainer.averaged_weights(), self._workdir.writing():
                variables = {"classifier": self.trainer.classifier.variables}
                write_arrays(self._path, variable_arrays(variables))

    def best(self) -> Mapping[str, np.ndarray]:
        """The model of the best epoch, on every worker, as `variable_arrays`."""
        arrays = None
        if self._replicas.is_chief:
            try:
                arrays = read_arrays(self._path)
            except ValueError as error:
                raise RunError(
                    f"{self._path} is damaged ({error}): the best epoch is lost. "
                    "Train anew in another workdir"
                ) from error
        return _everywhere(self._replicas, arrays) or {}


def _everywhere(
    replicas: Replicas, arrays: Mapping[str, np.ndarray] | None
) -> Mapping[str, np.ndarray] | None:
    """The chief's arrays, on every worker."""
    if not replicas.has_several_workers:
        return arrays
    return unpacked(replicas.broadcast(packed(arrays)))


def is_best(measured: list[float]) -> bool:
    """Whether the newest figure is above every one before."""
    return all(measured[-1] > before for before in measured[:-1])


class RecordEpochs(TrainerCallback):
    """Writes metrics.csv anew and logs to TensorBoard after every epoch; the chief alone.

    Args:
        workdir: whose files they are.
        config: shown as TensorBoard's hyper-parameters.

    Raises:
        RunError: if a file cannot be written.
    """

    def __init__(self, workdir: Workdir, config: Mapping[str, Any]):
        super().__init__()
        self._workdir = workdir
        with workdir.writing():
            self._tensorboard = TensorBoard(workdir.tensorboard, config)

    def on_train_begin(self, logs: Any = None) -> None:
        """Records what a session that was killed had saved, but perhaps not recorded yet."""
        del logs
        if self.trainer.state.history:
            self._write(None)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        del epoch, logs
        refresh: RefreshClusters | None = self.trainer.refresh
        self._write(refresh.sizes if refresh else None)

    def _write(self, cluster_sizes: np.ndarray | None) -> None:
        history = self.trainer.state.history
        with self._workdir.writing():
            write_metrics(self._workdir.metrics, history)
            self._tensorboard.log_epoch(history[-1], cluster_sizes)
