"""What a run tells the terminal while it works."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from clustr_tf.train.callbacks.base import TrainerCallback

# Name in the logs -> how it is told.
_FIGURES = {
    "loss": "loss {:.3f}",
    "accuracy": "train {:.2%}",
    "val_accuracy": "val {:.2%}",
    "val_pgd_accuracy": "PGD {:.2%}",
    "images_per_second": "{:.0f} images/s",
}


class ProgressBars(TrainerCallback):
    """A bar per epoch with loss, accuracies and images/s.

    Args:
        console: where to draw; without a terminal each finished epoch prints one line.
    """

    def __init__(self, console: Console):
        super().__init__()
        self._console = console
        self._progress: Progress | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del logs
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self._console,
        )
        self._task = self._progress.add_task(
            "",
            total=self.params["steps"],
            completed=self.trainer.state.progress.step,
            epoch=f"{epoch + 1}/{self.params['epochs']}",
        )
        self._progress.start()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._progress:
            text = f"loss {logs['loss']:.3f}"
            self._progress.update(self._task, completed=batch + 1, description=text)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        del epoch
        if self._progress:
            told = [text.format(logs[name]) for name, text in _FIGURES.items() if name in logs]
            self._progress.update(self._task, description="  ".join(told))
        self.close()

    def close(self) -> None:
        """Leaves the terminal in order, also after an interruption."""
        if self._progress:
            self._progress.stop()
            self._progress = None
