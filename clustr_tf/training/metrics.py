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
        history: a row an epoch, at least one.
        checkpoint: "last", or "best_pgd": the first of the epochs with the best PGD accuracy.

    Returns:
        The row.

    Example:
        >>> chosen_row([{"pgd_accuracy": 0.5}, {"pgd_accuracy": 0.4}], "best_pgd")
        {'pgd_accuracy': 0.5}
    """
    if checkpoint == "last":
        return history[-1]
    return max(history, key=lambda row: row["pgd_accuracy"])
