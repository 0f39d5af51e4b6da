"""What the terminal is told."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from clustr_tf.train.callbacks.progress import ProgressBars


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def _bars(console, done=0):
    bars = ProgressBars(console)
    bars.set_params({"epochs": 5, "steps": 4})
    state = SimpleNamespace(progress=SimpleNamespace(step=done))
    bars.trainer = SimpleNamespace(state=state)
    return bars


def _train_epoch(bars, done=0, **figures):
    bars.on_epoch_begin(1)
    for step in range(done, 4):
        bars.on_train_batch_end(step, {"loss": 1.0 / (step + 1)})
    row = {"loss": 0.52083, "accuracy": 0.75, "val_accuracy": 0.5}
    bars.on_epoch_end(1, {**row, **figures})


@pytest.mark.parametrize("done", [0, 3])
def test_a_finished_epoch_is_one_line(console, done):
    """Also one that a session before had begun."""
    _train_epoch(_bars(console, done), done, val_pgd_accuracy=0.25, images_per_second=1234.4)
    (line,) = console.file.getvalue().splitlines()
    assert line.startswith("epoch 2/5 ")
    figures = "4/4 loss 0.521  train 75.00%  val 50.00%  PGD 25.00%  1234 images/s"
    assert line.rstrip().endswith(figures)


def test_figures_that_were_not_measured_are_left_out(console):
    _train_epoch(_bars(console))
    assert console.file.getvalue().rstrip().endswith("loss 0.521  train 75.00%  val 50.00%")


def test_closing_in_the_middle_ends_the_line_and_closing_again_does_nothing(console):
    bars = _bars(console)
    bars.close()
    bars.on_epoch_begin(0)
    bars.on_train_batch_end(0, {"loss": 0.125})
    bars.close()
    text = console.file.getvalue()
    assert "1/4 loss 0.125" in text
    assert text.endswith("\n")
    bars.close()
    assert console.file.getvalue() == text
