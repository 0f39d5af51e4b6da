"""What a run tells the terminal while it works."""

from collections.abc import Mapping
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


class Reporter(Protocol):
    """Hears of the progress of training."""

    def epoch_begins(self, epoch: int, epochs: int, steps: int, done: int = 0) -> None:
        """Epoch `epoch` of `epochs` begins, with so many steps, some done by a session before."""

    def step_ends(self, loss: float) -> None:
        """A step ended with this loss."""

    def epoch_ends(self, row: Mapping[str, float]) -> None:
        """The epoch ended with this row of metrics.csv."""


class ProgressBars:
    """A bar per epoch with loss, accuracy and images/s.

    Args:
        console: where to draw; without a terminal each finished epoch prints one line.
    """

    def __init__(self, console: Console):
        self._console = console
        self._progress: Progress | None = None

    def epoch_begins(self, epoch: int, epochs: int, steps: int, done: int = 0) -> None:
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self._console,
        )
        self._task = self._progress.add_task(
            "", total=steps, completed=done, epoch=f"{epoch}/{epochs}"
        )
        self._progress.start()

    def step_ends(self, loss: float) -> None:
        if self._progress:
            self._progress.update(self._task, advance=1, description=f"loss {loss:.3f}")

    def epoch_ends(self, row: Mapping[str, float]) -> None:
        if self._progress:
            text = f"loss {row['loss']:.3f}  train {row['train_accuracy']:.2%}"
            if "test_accuracy" in row:
                text += f"  test {row['test_accuracy']:.2%}"
            if "pgd_accuracy" in row:
                text += f"  PGD {row['pgd_accuracy']:.2%}"
            if "images_per_second" in row:
                text += f"  {row['images_per_second']:.0f} images/s"
            self._progress.update(self._task, description=text)
        self.close()

    def close(self) -> None:
        """Leaves the terminal in order, also after an interruption."""
        if self._progress:
            self._progress.stop()
            self._progress = None


class Quiet:
    """Says nothing: for the workers that are not the chief."""

    def epoch_begins(self, epoch: int, epochs: int, steps: int, done: int = 0) -> None:
        """Nothing."""

    def step_ends(self, loss: float) -> None:
        """Nothing."""

    def epoch_ends(self, row: Mapping[str, float]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""
