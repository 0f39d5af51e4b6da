"""What a search leaves: a table, the best config, TensorBoard's hyper-parameters, a page."""

import csv
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from tensorboard.plugins.hparams import api as hparams

from clustr_tf.errors import RunError
from clustr_tf.experiment import read_experiment
from clustr_tf.files import replacing
from clustr_tf.training.tensorboard import hparam_value, scalar_name
from clustr_tf.tuning.best_config import config_source
from clustr_tf.tuning.finished import Finished, ranked, settings_text
from clustr_tf.tuning.parallel_coordinates import parallel_coordinates
from clustr_tf.tuning.request import Request
from clustr_tf.tuning.settings import MEASURES
from clustr_tf.tuning.space import Choices, with_values

_COSTS = ("seconds", "peak_mebibytes", "search_mebibytes")
_SHOWN = 10  # trials in the terminal; trials.csv has all


def write_results(
    root: Path, request: Request, trials: Sequence[Finished], console: Console
) -> None:
    """Writes best_config.py, trials.html and the HParams tab; prints the best trials.

    Args:
        root: folder of the search.
        request: what was searched.
        trials: that have ended, in the order in which they began.
        console: for the table.

    Raises:
        RunError: if none succeeded.
    """
    objective = request.settings.objective
    best = ranked(trials)
    if not best:
        first = f" The first: {trials[0].outcome.error}" if trials else ""
        raise RunError(f"None of {len(trials)} trials succeeded, see {root}/trials.csv.{first}")
    winner = best[0]
    experiment = read_experiment(with_values(request.config, winner.values))
    source = config_source(
        experiment,
        f"Trial {winner.trial_id}, the best of {len(trials)}: {objective} {winner.score:.4f} on "
        f"{experiment.dataset.validation_examples} held-out training images.",
    )
    page = parallel_coordinates(request.fields, trials, objective)
    for name, text in [("best_config.py", source), ("trials.html", page)]:
        with replacing(root / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    _write_hparams(root / "trials" / "events.out.tfevents.0.search", request)
    _print(console, trials, objective)
    console.print(
        f"{root} holds trials.csv, trials.html and best_config.py; a trial's own files are in "
        f"{root}/trials. Next:",
        highlight=False,
    )
    for command in [
        f"python -m clustr_tf.train --config={root}/best_config.py --workdir={root}/best",
        f"tensorboard --logdir={root}/trials",
    ]:
        console.print(f"  {command}", highlight=False, soft_wrap=True)


def write_table(path: Path, trials: Sequence[Finished]) -> None:
    """Writes trials.csv: a row a trial, in the order in which they began, also of failed ones.

    Args:
        path: the file.
        trials: that have ended.
    """
    names = sorted({name for trial in trials for name in trial.values})
    measures = {
        name: column
        for name, column in MEASURES.items()
        if any(column in (trial.outcome.row or {}) for trial in trials)
    }
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "objective", *measures, *names, *_COSTS, "error"])
        for trial in trials:
            row = trial.outcome.row or {}
            writer.writerow(
                [
                    trial.trial_id,
                    "" if trial.score is None else trial.score,
                    *(row.get(column, "") for column in measures.values()),
                    *(trial.values.get(name, "") for name in names),
                    *(f"{getattr(trial.outcome, cost):.1f}" for cost in _COSTS),
                    trial.outcome.error or "",
                ]
            )


def _write_hparams(path: Path, request: Request) -> None:
    """Tells TensorBoard which of all fields were drawn; the trials' own runs have their values."""
    drawn = [
        hparams.HParam(
            field.name,
            hparams.Discrete([hparam_value(value) for value in field.values])
            if isinstance(field, Choices)
            else hparams.RealInterval(float(field.low), float(field.high)),
        )
        for field in request.fields
    ]
    metrics = [
        hparams.Metric(scalar_name(column), display_name=measure)
        for measure, column in MEASURES.items()
    ]
    # TensorFlow writes in place, under a name of its own; TensorBoard is shown the whole file.
    with tempfile.TemporaryDirectory() as folder:
        writer = tf.summary.create_file_writer(folder)
        with writer.as_default():
            hparams.hparams_config(drawn, metrics)
        writer.close()
        (written,) = Path(folder).iterdir()
        with replacing(path) as temporary:
            shutil.copyfile(written, temporary)


def _print(console: Console, trials: Sequence[Finished], objective: str) -> None:
    scored = ranked(trials)
    table = Table("trial", objective, "settings", box=SIMPLE_HEAD)
    for trial in scored[:_SHOWN]:
        table.add_row(trial.trial_id, f"{trial.score:.4f}", settings_text(trial.values))
    console.print(table)
    failed = len(trials) - len(scored)
    console.print(f"{len(scored)} trials, {failed} failed", highlight=False)
