"""What a search leaves: a table, the best config, TensorBoard's hyper-parameters, a page."""

import csv
import json
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import tensorflow as tf
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from tensorboard.plugins.hparams import api as hparams

from clustr_tf.run.errors import RunError
from clustr_tf.run.files import replacing
from clustr_tf.train.callbacks.record import hparam_value
from clustr_tf.tune.request import MEASURES, Request
from clustr_tf.tune.space import Choices, Field, Range
from clustr_tf.tune.trials import Finished, ranked, settings_text

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
    config = request.resolved(winner.values)
    source = config_source(
        config,
        f"Trial {winner.trial_id}, the best of {len(trials)}: {objective} {winner.score:.4f} on "
        f"{config['dataset']['validation_examples']} held-out training images.",
    )
    page = parallel_coordinates(request.fields, trials, objective)
    for name, text in [("best_config.py", source), ("trials.html", page)]:
        with replacing(root / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    _write_hparams(root / "trials" / "events.out.tfevents.0.search", request)
    _print(console, best, len(trials) - len(best), objective)
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
    drawn = [hparams.HParam(field.name, _domain(field)) for field in request.fields]
    metrics = [hparams.Metric(column, display_name=measure) for measure, column in MEASURES.items()]
    # TensorFlow writes in place, under a name of its own; TensorBoard is shown the whole file.
    with tempfile.TemporaryDirectory() as folder:
        writer = tf.summary.create_file_writer(folder)
        with writer.as_default():
            hparams.hparams_config(drawn, metrics)
        writer.close()
        (written,) = Path(folder).iterdir()
        with replacing(path) as temporary:
            shutil.copyfile(written, temporary)


def _domain(field: Field) -> Any:
    if isinstance(field, Range):
        return hparams.RealInterval(float(field.low), float(field.high))
    values = [hparam_value(value) for value in field.values]
    one_type = len({type(value) for value in values}) == 1  # TensorBoard takes no other
    return hparams.Discrete(values if one_type else [str(value) for value in values])


def _print(console: Console, scored: Sequence[Finished], failed: int, objective: str) -> None:
    table = Table("trial", objective, "settings", box=SIMPLE_HEAD)
    for trial in scored[:_SHOWN]:
        table.add_row(trial.trial_id, f"{trial.score:.4f}", settings_text(trial.values))
    console.print(table)
    console.print(f"{len(scored)} trials, {failed} failed", highlight=False)


_TICKS = 5


def parallel_coordinates(
    fields: Sequence[Field], trials: Sequence[Finished], objective: str
) -> str:
    """A page that opens without a network; dragging along an axis picks trials.

    Args:
        fields: that were drawn.
        trials: those that failed are left out.
        objective: the name of what was sought.

    Returns:
        HTML.
    """
    scored = [trial for trial in trials if trial.score is not None]
    scores = [trial.score for trial in scored]
    axes = [_axis(field, [trial.values.get(field.name) for trial in scored]) for field in fields]
    figure = go.Figure(
        go.Parcoords(
            dimensions=[*axes, {"label": objective, "values": scores}],
            line={"color": scores, "colorscale": "Viridis", "showscale": True},
            labelangle=-15,
        ),
        {"title": f"{len(scored)} trials by {objective}", "margin": {"t": 160}},
    )
    page: str = figure.to_html(include_plotlyjs=True, div_id="trials")
    return page.replace("<head>", f"<head><title>{objective}: {len(scored)} trials</title>", 1)


def _axis(field: Field, values: Sequence[Any]) -> dict[str, Any]:
    if isinstance(field, Choices):
        choices = list(field.values)
        if None in values and None not in choices:  # of trials that do not have the field
            choices.append(None)
        return {
            "label": field.name,
            "values": [choices.index(value) for value in values],
            "tickvals": list(range(len(choices))),
            "ticktext": [_text(choice) for choice in choices],
            "range": [0, max(len(choices) - 1, 1)],
        }
    return _range_axis(field, values)


def _range_axis(field: Range, values: Sequence[Any]) -> dict[str, Any]:
    """Logarithmic where it was drawn so; trials without the field lie below the axis' numbers."""
    scale = math.log10 if field.sampling == "log" else float
    low, high = scale(field.low), scale(field.high)
    below = low - (high - low) / _TICKS
    marks = [low + (high - low) * tick / (_TICKS - 1) for tick in range(_TICKS)]
    numbers = [10**mark if field.sampling == "log" else mark for mark in marks]
    missing = None in values
    return {
        "label": field.name,
        "values": [below if value is None else scale(value) for value in values],
        "tickvals": [*([below] if missing else []), *marks],
        "ticktext": [*(["-"] if missing else []), *(f"{number:.3g}" for number in numbers)],
        "range": [below if missing else low, high],
    }


def _text(choice: Any) -> str:
    return "-" if choice is None else str(choice)


def config_source(config: Mapping[str, Any], title: str) -> str:
    """Python source that `python -m clustr_tf.train --config` takes as it is.

    Args:
        config: all fields of an experiment, as config.json has them.
        title: first line of its docstring, one sentence.

    Returns:
        The source, complete: it imports no other config.

    Example:
        >>> Path("best_config.py").write_text(config_source(values, "The best of 20."))
    """
    return f'''"""{title}"""

import ml_collections
from ml_collections.config_dict import placeholder


def get_config() -> ml_collections.ConfigDict:
    """The settings; every field can be overridden as --config.section.field=value."""
    return ml_collections.ConfigDict(
        {_literal(config, " " * 8)}
    )
'''


def _literal(value: Any, indent: str) -> str:
    """Python source of a value that ml_collections lets be overridden: no list, no None."""
    inner = f"{indent}    "
    if isinstance(value, Mapping):
        fields = [f'{inner}"{key}": {_literal(item, inner)},\n' for key, item in value.items()]
        return f"{{\n{''.join(fields)}{indent}}}"
    if isinstance(value, list):
        return repr(tuple(value))
    if value is None:
        return "placeholder(object)"
    return json.dumps(value) if isinstance(value, str) else repr(value)
