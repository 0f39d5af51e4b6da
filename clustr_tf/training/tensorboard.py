"""What TensorBoard shows of a run."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.projector import ProjectorConfig

from clustr_tf.experiment import Experiment
from clustr_tf.files import replacing
from clustr_tf.sections import section_values

_NAMES = {
    "loss": "train/loss",
    "train_accuracy": "train/accuracy",
    "test_accuracy": "test/accuracy",
    "validation_accuracy": "validation/accuracy",
    "pgd_accuracy": "validation/pgd_accuracy",
    "learning_rate": "train/learning_rate",
    "images_per_second": "train/images_per_second",
    "variance": "clusters/variance",
}


def scalar_name(column: str) -> str:
    """Under which name TensorBoard has a column of metrics.csv."""
    return _NAMES.get(column, f"train/{column}")


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
        experiment: shown as hyper-parameters.

    Raises:
        OSError: by every method that writes, if a file cannot be written.

    Example:
        >>> TensorBoard(Path("runs/a/tensorboard"), experiment).log_epoch(row, None)
    """

    def __init__(self, folder: Path, experiment: Experiment):
        self._folder = folder
        with _os_errors():
            self._writer = tf.summary.create_file_writer(str(folder))
        with _os_errors(), self._writer.as_default():
            hparams.hparams(dict(_flattened(section_values(experiment))))

    def log_epoch(self, row: Mapping[str, float], cluster_sizes: np.ndarray | None) -> None:
        """Logs one epoch's figures under metric names with a path.

        Args:
            row: of metrics.csv.
            cluster_sizes: int `[C*K]`, if there are clusters.
        """
        with _os_errors(), self._writer.as_default(step=int(row["epoch"])):
            for name, value in row.items():
                if name not in ("epoch", "seconds"):
                    tf.summary.scalar(scalar_name(name), value)
            if cluster_sizes is not None:
                tf.summary.histogram("clusters/sizes", cluster_sizes)

    def log_radii(self, radii: np.ndarray, epoch: int) -> None:
        """Logs the certified radii of the finished model as a histogram.

        Args:
            radii: `[N]`, l2 in pixels.
            epoch: finished epochs.
        """
        with _os_errors(), self._writer.as_default(step=epoch):
            tf.summary.histogram("test/certified_radius_l2", radii)

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


def _flattened(values: Mapping[str, object], path: str = "") -> Iterable[tuple[str, object]]:
    """Dotted names with values that TensorBoard's hyper-parameters take."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", hparam_value(value)
