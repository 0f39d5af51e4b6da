"""How far an evaluation is: shares and times by hand, on a terminal and in a log."""

import io

import pytest
from rich.console import Console

from clustr_tf.evaluate.progress import EvaluationProgress
from clustr_tf.evaluate.run import planned
from clustr_tf.evaluate.suite import PROTOCOLS, Target


class Clock:
    """Seconds that a test sets."""

    now = 100.0

    def __call__(self):
        return self.now


def lines_of(console, told, planned=None):
    """What is told at given seconds after the start."""
    clock = Clock()
    with EvaluationProgress(console, planned or {"a": 60.0, "b": 40.0}, 200, clock) as progress:
        for seconds, *batch in told:
            clock.now = 100.0 + seconds
            progress.told(*batch)
    return console.file.getvalue().splitlines()


def test_a_log_has_a_line_every_ten_seconds_at_most():
    """30 of 100 after 12 s: 28 s left. Nothing at 15 s. b begins: the 30 left of a are dropped.

    50 images in the 12 s of each part are 4 a second. At 24 s it is 55 of 30 + 40, and 15 / 55 of
    24 s, 6.5 s, are left.
    """
    told = [(12, "a", 50, 150, 30), (15, "b", 9, 150, 5), (24, "b", 41, 100, 20)]
    assert lines_of(Console(file=io.StringIO()), told) == [
        "30% done, 0:00:28 left; a: 50 images attacked, 4 images/s, 75.00% of all still stand",
        "79% done, 0:00:07 left; b: 50 images attacked, 4 images/s, 50.00% of all still stand",
    ]


def test_more_work_than_planned_is_never_more_than_all():
    told = [(10, "a", 1, 1, 90), (20, "b", 1, 1, 50), (30, "else", 1, 1, 50)]
    shares = [line.split("%")[0] for line in lines_of(Console(file=io.StringIO()), told)]
    assert shares == ["69", "100", "100"]


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_has_a_bar_and_no_lines(no_color):
    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        force_interactive=True,
        no_color=no_color,
        width=120,
    )
    text = "\n".join(lines_of(console, [(12, "a", 50, 150, 30)]))
    assert "a: 50 images attacked, 4 images/s, 75.00% of all still stand" in text
    assert "30%" in text
    assert "done" not in text
    assert ("\x1b[3" not in text) or not no_color  # colours


def test_the_plan_by_hand(plan):
    """20 diagnosed of 50; 10 steps (11 gradients), two restarts of the paper's, 50 queries.

    The curve has five radii besides. Ensemble: 10 + 9 * 10 + 0.3 * 50 = 115. Diagnosed: 3 * 21 for
    the losses, 101 for more steps, 10 for noise and 2 * 10 for the scales.
    """
    target = Target(lambda images: images[:, 0, 0], (8, 8, 10), 10, plan)
    names = ("clean", "pgd", "pgd_paper", "ensemble")
    found = planned(target, PROTOCOLS["adaptive"], names, 50)
    pgd, paper = 50 * 2 * 11, 50 * 2 * 21
    assert found == pytest.approx(
        {
            **{"pgd": pgd, "pgd_paper": paper, "ensemble": 50 * 115},
            **{"pgd curve": 5 * pgd, "pgd_paper curve": 5 * paper},
            "diagnostics": 20 * (3 * 21 + 101 + 10 + 2 * 10),
        }
    )
    assert list(found)[-1] == "diagnostics"
    assert "diagnostics" not in planned(target, PROTOCOLS["paper"], names[:3], 50)
