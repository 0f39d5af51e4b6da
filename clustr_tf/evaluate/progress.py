"""How far an evaluation is, on a terminal or in a log."""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

_SECONDS = 10.0  # between two lines in a log


class EvaluationProgress:
    """A bar with the share done and the time left; without a terminal a line every ten seconds.

    Plans are upper bounds: what is broken is not attacked again. So the rest of a part's plan is
    dropped when a later part begins, and the share never falls.

    Args:
        console: where to draw.
        planned: part of the evaluation -> work in it at most, in the order of the parts.
        examples: of the evaluation.
        clock: seconds.

    Example:
        >>> with EvaluationProgress(Console(), {"pgd": 7200.0, "ensemble": 9e5}, 360) as progress:
        ...     progress.told("pgd", images=360, standing=312, work=7200.0)
    """

    def __init__(
        self,
        console: Console,
        planned: Mapping[str, float],
        examples: int,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._console, self._examples, self._clock = console, examples, clock
        self._left, self._done = dict(planned), 0.0
        self._part, self._attacked = "", 0  # the newest part, and images attacked in it
        # When all began, the newest part did, the newest batch ended, and a line was printed.
        self._begin = self._part_begin = self._batch_end = self._printed = clock()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_interactive,
        )
        self._task = self._bar.add_task("loading", total=sum(planned.values()))

    def __enter__(self) -> "EvaluationProgress":
        self._bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.stop()

    def told(self, part: str, images: int, standing: int, work: float) -> None:
        """Takes note of a batch.

        Args:
            part: of the evaluation.
            images: that were attacked.
            standing: how many examples of all still stand.
            work: that it was, in the unit of the plan.
        """
        now = self._clock()
        if part != self._part:
            self._part, self._attacked, self._part_begin = part, 0, self._batch_end
        self._attacked, self._batch_end = self._attacked + images, now
        if part in self._left:
            for earlier in list(self._left):
                if earlier == part:
                    break
                del self._left[earlier]
            self._left[part] = max(self._left[part] - work, 0.0)
        self._done += work
        total = self._done + sum(self._left.values())
        rate = self._attacked / max(now - self._part_begin, 1e-9)
        text = (
            f"{part}: {self._attacked} images attacked, {rate:.0f} images/s, "
            f"{standing / self._examples:.2%} of all still stand"
        )
        self._bar.update(self._task, completed=self._done, total=total, description=text)
        if self._bar.disable and now - self._printed >= _SECONDS:
            self._printed = now
            left = timedelta(seconds=round((now - self._begin) * (total / self._done - 1)))
            line = f"{self._done / total:.0%} done, {left} left; {text}"
            self._console.print(line, highlight=False, soft_wrap=True)
