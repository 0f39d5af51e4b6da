"""What the terminal is told."""

import io

import pytest
from rich.console import Console

from clustr_tf.training.progress import ProgressBars, Quiet


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def _train_epoch(reporter, done=0, **figures):
    reporter.epoch_begins(2, 5, steps=4, done=done)
    for step in range(done, 4):
        reporter.step_ends(1.0 / (step + 1))
    row = {"epoch": 2, "loss": 0.52083, "train_accuracy": 0.75, "test_accuracy": 0.5}
    reporter.epoch_ends({**row, **figures})


@pytest.mark.parametrize("done", [0, 3])
def test_a_finished_epoch_is_one_line(console, done):
    """Also one that a session before had begun."""
    _train_epoch(ProgressBars(console), done, pgd_accuracy=0.25, images_per_second=1234.4)
    (line,) = console.file.getvalue().splitlines()
    assert line.startswith("epoch 2/5 ")
    figures = "4/4 loss 0.521  train 75.00%  test 50.00%  PGD 25.00%  1234 images/s"
    assert line.rstrip().endswith(figures)


def test_figures_that_were_not_measured_are_left_out(console):
    _train_epoch(ProgressBars(console))
    assert console.file.getvalue().rstrip().endswith("loss 0.521  train 75.00%  test 50.00%")


def test_closing_in_the_middle_ends_the_line_and_closing_again_does_nothing(console):
    bars = ProgressBars(console)
    bars.close()
    bars.epoch_begins(1, 5, steps=4)
    bars.step_ends(0.125)
    bars.close()
    text = console.file.getvalue()
    assert "1/4 loss 0.125" in text
    assert text.endswith("\n")
    bars.close()
    assert console.file.getvalue() == text


def test_quiet_says_nothing(capfd):
    quiet = Quiet()
    _train_epoch(quiet)
    quiet.close()
    assert capfd.readouterr() == ("", "")
