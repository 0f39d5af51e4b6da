"""Draws what the runs of benchmarks/robust_comparison.py keep, against what they cost.

    python -m benchmarks.robust_curves --runs=runs/robust/digits,runs/robust/digits_120 \
        --rows=clustr_ibp,clustr_free,free_at,trades_3 --figure=docs/images/robust_curves.png

Lines: held-out PGD accuracy after every epoch of the runs in the first folder that has the row,
mean of the seeds.
Dots: accuracy in the worst case of all attacks on test images, one a run of any folder (a folder a
budget), which the command prints as a table too.
"""

from pathlib import Path

import numpy as np
from absl import app, flags
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.robust_rows import ROWS
from benchmarks.runs import read_values
from clustr_tf.run.files import replacing
from clustr_tf.train.callbacks.record import read_metrics

_RUNS = flags.DEFINE_list("runs", ["runs/robust/digits"], "folders of workdirs, one a budget")
_ROWS = flags.DEFINE_list("rows", ["clustr_ibp", "clustr_free", "free_at", "trades_3"], "which")
_FIGURE = flags.DEFINE_string("figure", "robust_curves.png", "file that is written")


def main(arguments: list[str]) -> None:
    """Draws the figure and prints what the dots are."""
    del arguments
    folders = [Path(folder) for folder in _RUNS.value]
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    print("| method | passes an image | worst case % |\n| --- | --- | --- |")
    for number, name in enumerate(_ROWS.value):
        color = f"C{number}"
        passes, accuracies = held_out_curve(folders, name)
        axes.plot(passes, 100 * accuracies, color=color, label=name, linewidth=1)
        dots = worst_cases(folders, name)
        axes.scatter(*zip(*dots, strict=True), color=color, zorder=3)
        for cost, accuracy in dots:
            print(f"| `{name}` | {cost} | {accuracy:.2f} |")
    axes.set_xlabel("forward and backward passes over the training images")
    axes.set_ylabel("accuracy % (line: held-out PGD, dot: worst case)")
    axes.legend()
    FigureCanvasAgg(figure)
    with replacing(Path(_FIGURE.value)) as temporary:
        figure.savefig(temporary, format="png")


def held_out_curve(folders: list[Path], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(passes, held-out PGD accuracy in [0, 1]) after every epoch, the mean of a row's seeds.

    Raises:
        ValueError: if no folder has a finished run of the row.
    """
    workdirs = next(filter(None, (_workdirs(folder, name) for folder in folders)), None)
    if workdirs is None:
        raise ValueError(f"rows must be trained in one of the folders. Received: {name!r}")
    histories = [read_metrics(workdir / "metrics.csv") for workdir in workdirs]
    column = "validation/pgd_accuracy"
    accuracies = np.mean([[row[column] for row in history] for history in histories], axis=0)
    return ROWS[name].cost * np.arange(1, len(accuracies) + 1), accuracies


def worst_cases(folders: list[Path], name: str) -> list[tuple[int, float]]:
    """(passes, worst-case accuracy in per cent) of every attacked run of a row, cheapest first."""
    return sorted(
        (
            ROWS[name].cost * read_values(workdir / "config.json")["training"]["epochs"],
            100 * read_values(workdir / "robustness.json")["worst_case_accuracy"],
        )
        for folder in folders
        for workdir in _workdirs(folder, name)
        if (workdir / "robustness.json").exists()
    )


def _workdirs(folder: Path, name: str) -> list[Path]:
    """Of the seeds that are done."""
    found = sorted(folder.glob(f"{name}-[0-9]"))
    return [workdir for workdir in found if (workdir / "summary.json").exists()]


if __name__ == "__main__":
    app.run(main)
