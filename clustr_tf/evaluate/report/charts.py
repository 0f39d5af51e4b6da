"""The report's charts as plotly figures; the page adds the ground's colours when it draws them.

Each gives the figure as JSON values, or None where there is nothing to draw.
"""

import html
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from clustr_tf.evaluate.report.reading import Evaluation
from clustr_tf.evaluate.report.words import attack_name, norm_name, percent

_LONGEST_NAME = 28  # characters; longer ones would push the chart off a phone
_LEGEND_CLASSES = 20  # a longer legend explains nothing


def accuracy_chart(evaluation: Evaluation) -> dict[str, Any] | None:
    """Accuracy against eps for each attack, beside it what is proved of the model as served.

    Example:
        >>> accuracy_chart(evaluation)["data"][0]["name"]  # "PGD"
    """
    curve, norm = evaluation.get("curve"), evaluation.figures["norm"]
    if not curve:
        return None
    figure = _empty_chart(f"{norm_name(norm)} radius eps (pixels in [0, 1])")
    for index, (name, series) in enumerate(curve["attacks"].items()):
        _add_series(figure, attack_name(name), curve["eps"], series, index)
    if evaluation.certificates:
        proved = evaluation.certificates[0].curve(norm)
        _add_proof(figure, "proved", proved, len(curve["attacks"]))
    figure.add_vline(x=evaluation.figures["eps"], line={"width": 1, "dash": "dot", "color": "gray"})
    return _values(figure)


def certified_chart(evaluation: Evaluation) -> dict[str, Any] | None:
    """Certified accuracy against radius, of every classifier and proof."""
    if not evaluation.certificates:
        return None
    norm = evaluation.figures["norm"]
    figure = _empty_chart(f"{norm_name(norm)} radius (pixels in [0, 1])")
    for index, certificate in enumerate(evaluation.certificates):
        _add_proof(figure, certificate.title, certificate.curve(norm), index)
    return _values(figure)


def comparison_chart(evaluations: Sequence[Evaluation], names: Sequence[str]) -> dict[str, Any]:
    """The lowest measured curve of every evaluation, and what is proved of it as served.

    Args:
        evaluations: of one norm; those without a curve are left out.
        names: what to call each.
    """
    norm = evaluations[0].figures["norm"]
    figure = _empty_chart(f"{norm_name(norm)} radius eps (pixels in [0, 1])")
    for index, (evaluation, name) in enumerate(zip(evaluations, names, strict=True)):
        curve = evaluation.get("curve")
        if curve and curve["attacks"]:
            attacks = curve["attacks"]
            lowest = min(attacks, key=lambda attack: float(np.mean(attacks[attack]["accuracy"])))
            title = f"{name} · {attack_name(lowest)}"
            _add_series(figure, title, curve["eps"], attacks[lowest], index)
        if evaluation.certificates:
            proved = evaluation.certificates[0].curve(norm)
            _add_proof(figure, f"{name} · proved", proved, index, listed=False)
    return _values(figure)


def certified_comparison_chart(
    evaluations: Sequence[Evaluation], names: Sequence[str]
) -> dict[str, Any] | None:
    """Certified accuracy against l2 radius of every evaluation, by every classifier and proof.

    Args:
        evaluations: those without certificates are left out.
        names: what to call each.
    """
    figure = _empty_chart(f"{norm_name('l2')} radius (pixels in [0, 1])")
    for index, (evaluation, name) in enumerate(zip(evaluations, names, strict=True)):
        for place, certificate in enumerate(evaluation.certificates):
            title = f"{name} · {certificate.title}"
            # The legend names a model once, by what it serves; the others show when pointed at.
            _add_proof(figure, title, certificate.curve("l2"), index, listed=place == 0)
    return _values(figure) if figure.data else None


def map_chart(evaluation: Evaluation) -> dict[str, Any] | None:
    """The embedding map: images by class, hollow where an attack broke them, and centroids.

    `customdata` of an image is its place on the sheet and what to say of it.
    """
    if not evaluation.has_map:
        return None
    arrays, classes = evaluation.arrays, evaluation.figures["classes"]
    rows, points = arrays["map_rows"], arrays["map_points"]
    labels, robust = arrays["labels"][rows], arrays["robust"][rows]
    told = [
        f"{classes[label]}: {_fate(evaluation, row)}"
        for label, row in zip(labels, rows, strict=True)
    ]
    figure = go.Figure()
    for label, name in enumerate(classes):
        # The mark of the first one stands in the legend.
        mine = np.flatnonzero(labels == label)
        mine = mine[np.argsort(~robust[mine], kind="stable")]
        if len(mine):
            figure.add_scatter(
                x=points[mine, 0].tolist(),
                y=points[mine, 1].tolist(),
                customdata=[[int(index), told[index]] for index in mine],
                name=_safe(name),
                mode="markers",
                marker={
                    "size": 8,
                    "symbol": [
                        SYMBOLS[label // 10 % len(SYMBOLS)] + ("" if kept else "-open")
                        for kept in robust[mine]
                    ],
                    "color": colour(label),
                    "line": {"width": 1.2},
                },
                hoverinfo="none",
            )
    _add_centroids(figure, evaluation)
    explained = arrays["map_explained"]
    figure.update_layout(
        xaxis_title=f"1st direction ({explained[0]:.0%} of variance)",
        yaxis_title=f"2nd direction ({explained[1]:.0%})",
        showlegend=len(classes) <= _LEGEND_CLASSES,
        hovermode="closest",
    )
    return _values(figure)


def _fate(evaluation: Evaluation, row: int) -> str:
    predicted = evaluation.arrays["clean_predictions"][row]
    if predicted != evaluation.arrays["labels"][row]:
        return f"taken for {evaluation.figures['classes'][predicted]}"
    if evaluation.get("worst_case_accuracy") is None:
        return "not attacked"
    return "withstood every attack" if evaluation.arrays["robust"][row] else "broken by an attack"


def _add_centroids(figure: go.Figure, evaluation: Evaluation) -> None:
    centroids = evaluation.arrays["map_centroids"]
    labels = evaluation.arrays["map_centroid_labels"]
    classes = evaluation.figures["classes"]
    figure.add_scatter(
        x=centroids[:, 0].tolist(),
        y=centroids[:, 1].tolist(),
        text=[f"centroid of {_safe(classes[label])}" for label in labels],
        name="centroids",
        showlegend=False,
        mode="markers",
        marker={
            "size": 16,
            "symbol": "star",
            "color": [colour(int(label)) for label in labels],
            "line": {"width": 1.5, "color": "gray"},
        },
        hovertemplate="%{text}<extra></extra>",
    )


def _empty_chart(title: str) -> go.Figure:
    return go.Figure(
        layout={
            "xaxis": {"title": {"text": title}, "rangemode": "tozero"},
            "yaxis": {"title": {"text": "accuracy"}, "tickformat": ".0%", "range": [-0.02, 1.02]},
            "hovermode": "closest",
            "showlegend": True,
        }
    )


def _add_series(
    figure: go.Figure, name: str, radii: Sequence[float], series: dict[str, Any], index: int
) -> None:
    lows, highs = zip(*series["interval_95"], strict=True) if radii else ((), ())
    figure.add_scatter(
        x=[*radii, *reversed(radii)],
        y=[*highs, *reversed(lows)],
        fill="toself",
        fillcolor=colour(index, 0.14),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        legendgroup=name,
        name=f"{_safe(name)}, 95 % interval",
    )
    figure.add_scatter(
        x=list(radii),
        y=list(series["accuracy"]),
        text=[f"{percent(low)} to {percent(high)}" for low, high in series["interval_95"]],
        name=_safe(name),
        legendgroup=name,
        mode="lines+markers",
        line={"color": colour(index), "width": 2.2, "dash": DASHES[index % len(DASHES)]},
        marker={"size": 7, "symbol": SYMBOLS[index % len(SYMBOLS)]},
        hovertemplate="%{fullData.name} at %{x:.4g}: %{y:.2%}<br>95 %: %{text}<extra></extra>",
    )


def _add_proof(
    figure: go.Figure, name: str, certified: dict[str, Any], index: int, listed: bool = True
) -> None:
    """Between two radii of the grid only the accuracy at the larger one is proved: steps."""
    figure.add_scatter(
        showlegend=listed,
        x=list(certified["radius"]),
        y=list(certified["accuracy"]),
        name=_safe(name),
        mode="lines",
        line={"color": colour(index), "width": 2.2, "shape": "vh", "dash": "dot"},
        hovertemplate="%{fullData.name} at %{x:.4g}: %{y:.2%}<extra></extra>",
    )


def _safe(name: str) -> str:
    """Plotly reads text as HTML of its own."""
    shown = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return html.escape(shown, quote=False)


def _values(figure: go.Figure) -> dict[str, Any]:
    # The page brings its own template, which follows its light and dark ground.
    figure.layout.template = go.layout.Template()
    return dict(json.loads(figure.to_json()))


# Each has a contrast of at least 3:1 with both grounds (WCAG 2.2, 1.4.11).
COLOURS = (
    "#3b7ddd",
    "#c8622a",
    "#2f8f5b",
    "#c9477f",
    "#8566cc",
    "#8d7a1f",
    "#1f8ba3",
    "#d0483e",
    "#7a8089",
    "#9a6b4b",
)
# Colour alone tells too little to those who do not see it. Dotted is only what is proved.
DASHES = ("solid", "dash", "longdash", "dashdot", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "pentagon")


def colour(index: int, opacity: float = 1.0) -> str:
    """The colour of the index-th series; they repeat.

    Example:
        >>> colour(0, 0.15)  # "rgba(59, 125, 221, 0.15)"
    """
    digits = COLOURS[index % len(COLOURS)].lstrip("#")
    red, green, blue = (int(digits[at : at + 2], 16) for at in (0, 2, 4))
    return f"rgba({red}, {green}, {blue}, {opacity})"
