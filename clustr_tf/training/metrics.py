"""The record of a run: metrics.csv."""

import csv
from collections.abc import Sequence
from pathlib import Path

from clustr_tf.files import replacing

Row = dict[str, float]

COLUMNS = (
    "epoch",
    "loss",
    "train_accuracy",
    "test_accuracy",
    "validation_accuracy",
    "pgd_accuracy",
    "learning_rate",
    "images_per_second",
    "seconds",
    "variance",
)


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
