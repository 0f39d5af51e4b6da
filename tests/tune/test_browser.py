"""The page of trials in a real browser: Debian's chromium, headless."""

import pytest

from clustr_tf.tune.results import parallel_coordinates
from clustr_tf.tune.space import Choices, Condition, Range
from clustr_tf.tune.trials import Finished, Outcome

NAMES = ("trades", "pgd_at")
FIELDS = (
    Choices("method.name", NAMES),
    Choices("optimizer.schedule.milestones", ([], [20, 30])),
    Range("optimizer.learning_rate", 1e-4, 1e-2, "log"),
    Range("method.steps", 1, 5, "linear", Condition("method.name", ("trades",))),
)


def _trial(number, score, **values):
    values = {name.replace("__", "."): value for name, value in values.items()}
    outcome = Outcome(None, None if score else "it failed", 1.0, 1.0, 1.0)
    return Finished(str(number), values, score, outcome)


TRIALS = [
    _trial(
        0,
        0.25,
        method__name="trades",
        optimizer__schedule__milestones=[20, 30],
        optimizer__learning_rate=1e-3,
        method__steps=3,
    ),
    _trial(
        1,
        0.75,
        method__name="pgd_at",
        optimizer__schedule__milestones=[],
        optimizer__learning_rate=1e-2,
    ),
    _trial(2, None, method__name="pgd_at"),
]


def test_the_page_draws_every_trial_without_a_network(browser, tmp_path):
    path = tmp_path / "trials.html"
    path.write_text(parallel_coordinates(FIELDS, TRIALS, "val_pgd_accuracy"), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    told, asked = [], []
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector(".parcoords .axis-title")
    assert page.title() == "val_pgd_accuracy: 2 trials"
    titles = [
        *("method.name", "optimizer.schedule.milestones", "optimizer.learning_rate"),
        *("method.steps", "val_pgd_accuracy"),
    ]
    assert page.locator(".axis-title").all_text_contents() == titles
    # What is drawn, as Plotly has read it: by hand, the logarithms of the rates are -3 and -2, and
    # the trial without steps lies a fifth of the axis below its numbers.
    drawn = page.evaluate(
        "document.getElementById('trials')._fullData[0].dimensions.map(d => Array.from(d.values))"
    )
    assert drawn == [[0, 1], [1, 0], [-3, -2], [3, pytest.approx(1 - 4 / 5)], [0.25, 0.75]]
    ticks = set(page.locator(".axis .tick text").all_text_contents())
    assert ticks >= {*NAMES, "[]", "[20, 30]", "0.0001", "0.01", "-", "5"}
    assert told == []
    assert asked == [path.as_uri()]
