"""All trials of a search in one picture: a line a trial, an axis a field."""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from clustr_tf.tuning.finished import Finished
from clustr_tf.tuning.space import Choices, Field, Range

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
