"""The record of a run: metrics.csv and TensorBoard."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from clustr_tf.files import replacing

Row = dict[str, float]

COLUMNS = (
    "epoch",
    "loss",
    "train_accuracy",
    "test_accuracy",
    "pgd_accuracy",
    "learning_rate",
    "images_per_second",
    "seconds",
    "variance",
)
_TENSORBOARD_NAMES = {
    "loss": "train/loss",
    "train_accuracy": "train/accuracy",
    "test_accuracy": "test/accuracy",
    "pgd_accuracy": "test/pgd_accuracy",
    "learning_rate": "train/learning_rate",
    "images_per_second": "train/images_per_second",
    "variance": "clusters/variance",
}


def write_metrics(path: Path, history: Sequence[Row]) -> None:
    """Writes metrics.csv anew from the whole history: no row twice, none lost.

    Args:
        path: the file.
        history: a row an epoch; names that `COLUMNS` lacks follow it (the loss's parts), figures
            that were not measured stay empty.
    """
    further = sorted({name for row in history for name in row} - set(COLUMNS))
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *further], restval="")
        writer.writeheader()
        writer.writerows(history)


def seconds_per_epoch(path: Path) -> list[float]:
    """How long each epoch of metrics.csv took.

    Args:
        path: the file.

    Returns:
        Seconds, an entry an epoch.
    """
    with path.open(newline="", encoding="utf-8") as file:
        return [float(row["seconds"]) for row in csv.DictReader(file)]


def log_to_tensorboard(writer: tf.summary.SummaryWriter, row: Mapping[str, float]) -> None:
    """Logs one epoch's figures under metric names with a path.

    Args:
        writer: of the run's tensorboard folder.
        row: the epoch's row.
    """
    with writer.as_default(step=int(row["epoch"])):
        for name, value in row.items():
            if name not in ("epoch", "seconds"):
                tf.summary.scalar(_TENSORBOARD_NAMES.get(name, f"train/{name}"), value)
