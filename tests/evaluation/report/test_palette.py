"""Contrast of colours by WCAG 2.2."""

import re
from importlib.resources import files

import pytest

from clustr_tf.evaluation.report.palette import COLOURS, colour

STYLE = files("clustr_tf.evaluation.report").joinpath("templates/style.css").read_text()
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
