"""The charts hold the figures of robustness.json and robustness.npz, in colours that stand out."""

import re
from importlib.resources import files

import numpy as np
import pytest

from clustr_tf.evaluate.report import read_evaluation
from clustr_tf.evaluate.report.charts import (
    COLOURS,
    accuracy_chart,
    certified_chart,
    certified_comparison_chart,
    colour,
    comparison_chart,
    map_chart,
)
from clustr_tf.evaluate.report.words import norm_name


@pytest.fixture
def evaluation(write_workdir, tmp_path):
    return read_evaluation(write_workdir(tmp_path))


def _traces(chart):
    return {trace["name"]: trace for trace in chart["data"]}


def test_curves_and_bands_equal_the_figures(evaluation):
    traces = _traces(accuracy_chart(evaluation))
    curve = evaluation.figures["curve"]
    names = {"pgd": "PGD", "pgd_paper": "Paper's protocol", "ensemble": "Ensemble"}
    assert set(traces) == {
        *names.values(),
        *(f"{n}, 95 % interval" for n in names.values()),
        "proved",
    }
    for name, shown in names.items():
        series = curve["attacks"][name]
        assert traces[shown]["x"] == curve["eps"]
        assert traces[shown]["y"] == series["accuracy"]
        # Along the upper edge and back along the lower one.
        lows, highs = zip(*series["interval_95"], strict=True)
        band = traces[f"{shown}, 95 % interval"]
        assert band["y"] == [*highs, *reversed(lows)]
        assert band["x"] == [*curve["eps"], *reversed(curve["eps"])]


def test_what_is_proved_of_the_model_as_served_stands_on_the_axes_of_the_attacks(
    write_workdir, evaluation, tmp_path
):
    """In the norm of the attacks."""
    served = evaluation.certificates[0]
    proved = _traces(accuracy_chart(evaluation))["proved"]
    l2, linf = served.curve("l2"), served.curve("linf")
    assert (proved["x"], proved["y"]) == (linf["radius"], linf["accuracy"])
    assert l2["radius"] != linf["radius"]

    def edit(figures, arrays):
        figures["norm"] = "l2"

    other = read_evaluation(write_workdir(tmp_path / "l2", edit))
    assert _traces(accuracy_chart(other))["proved"]["x"] == l2["radius"]


def test_every_classifier_and_proof_has_its_curve(evaluation):
    chart = certified_chart(evaluation)
    assert norm_name("linf") in chart["layout"]["xaxis"]["title"]["text"]
    assert len(chart["data"]) == len(evaluation.certificates) == 2
    for trace, certificate in zip(chart["data"], evaluation.certificates, strict=True):
        curve = certificate.curve("linf")
        assert trace["name"] == certificate.title
        assert (trace["x"], trace["y"]) == (curve["radius"], curve["accuracy"])


def test_a_comparison_has_every_proof_and_lists_what_is_served(write_workdir, evaluation, tmp_path):
    bare = read_evaluation(write_workdir(tmp_path / "bare", certified=False))
    weak = read_evaluation(write_workdir(tmp_path / "weak", strength=0.05))
    chart = certified_comparison_chart([evaluation, bare, weak], ["a", "b", "c"])
    shown = [(trace["name"], trace["showlegend"]) for trace in chart["data"]]
    assert [listed for _, listed in shown] == [True, False, True, False]
    assert [name[0] for name, _ in shown] == ["a", "a", "c", "c"]
    assert certified_comparison_chart([bare], ["b"]) is None


def test_every_point_of_the_map_is_its_image(evaluation):
    arrays, classes = evaluation.arrays, evaluation.figures["classes"]
    *groups, centroids = map_chart(evaluation)["data"]
    shown = {}
    for group in groups:
        for x, y, (index, told), symbol in zip(
            group["x"], group["y"], group["customdata"], group["marker"]["symbol"], strict=True
        ):
            row = arrays["map_rows"][index]
            assert group["name"] == classes[arrays["labels"][row]]
            assert told.startswith(f"{group['name']}: ")
            assert symbol.endswith("-open") != arrays["robust"][row]
            shown[index] = (x, y)
    expected = dict(enumerate(map(tuple, arrays["map_points"].tolist())))
    assert shown == expected
    np.testing.assert_allclose(
        np.stack([centroids["x"], centroids["y"]], axis=1), arrays["map_centroids"], rtol=1e-6
    )


def test_a_comparison_shows_the_lowest_curve_of_each(write_workdir, evaluation, tmp_path):
    weak = read_evaluation(write_workdir(tmp_path / "weak", strength=0.05))
    traces = _traces(comparison_chart([evaluation, weak], ["a", "b"]))
    for name, source in (("a", evaluation), ("b", weak)):
        series = source.figures["curve"]["attacks"]["ensemble"]
        assert traces[f"{name} · Ensemble"]["y"] == series["accuracy"]
    assert not any("Paper" in name for name in traces)


def test_names_are_text_and_no_markup(write_workdir, tmp_path):
    """Plotly would make tags of them."""

    def edit(figures, arrays):
        figures["classes"][0] = '<a href="https://example.org">x</a>'
        figures["classes"][1] = "y" * 100

    chart = map_chart(read_evaluation(write_workdir(tmp_path, edit)))
    names = [trace["name"] for trace in chart["data"]]
    assert names[0].startswith("&lt;a href=")
    assert len(names[1]) < 30


def test_without_its_part_a_chart_is_none(write_workdir, tmp_path):
    def edit(figures, arrays):
        figures.update(curve=None)
        for name in [name for name in arrays if name.startswith("map")]:
            del arrays[name]

    evaluation = read_evaluation(write_workdir(tmp_path, edit, certified=False))
    assert accuracy_chart(evaluation) is None
    assert certified_chart(evaluation) is None
    assert map_chart(evaluation) is None


# Contrast by WCAG 2.2.
STYLE = files("clustr_tf.evaluate.report").joinpath("templates/style.css").read_text()
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#\w{6});", block)) for block in STYLE.split("@media")[:2]
)


def _luminance(hexadecimal):
    channels = [int(hexadecimal[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one, other):
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_and_white():
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_stand_out(scheme):
    for text in ("ink", "muted", "accent", "alarm"):
        assert _contrast(scheme[text], scheme["ground"]) >= 4.5
    for text in ("ink", "alarm"):
        assert _contrast(scheme[text], scheme["alarm-ground"]) >= 4.5
    assert _contrast(scheme["ink"], scheme["raised"]) >= 4.5
    for mark in COLOURS:
        assert _contrast(mark, scheme["ground"]) >= 3


def test_colours_repeat():
    """#3b7ddd is (59, 125, 221)."""
    assert colour(0, 0.14) == colour(len(COLOURS), 0.14) == "rgba(59, 125, 221, 0.14)"
