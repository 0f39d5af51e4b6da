"""What a long evaluation shows while it works."""

import time

from rich.console import Console
from rich.status import Status


class AttackProgress:
    """A line that tells the attack, images per second and the share that still stands.

    Args:
        console: where it is shown; nothing is shown where that is no terminal.
        examples: N, of which the share is told.

    Example:
        >>> with AttackProgress(Console(), 1000) as progress:
        ...     progress("ensemble", 250, 730)  # 250 more images attacked, 730 of 1000 stand
    """

    def __init__(self, console: Console, examples: int):
        self._status = Status("loading", console=console)
        self._examples = examples
        self._name, self._images, self._begin = "", 0, 0.0

    def __enter__(self) -> "AttackProgress":
        self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._status.stop()

    def __call__(self, name: str, images: int, standing: int) -> None:
        """Tells of an attacked batch."""
        if name != self._name:
            self._name, self._images, self._begin = name, 0, time.perf_counter()
        self._images += images
        rate = self._images / max(time.perf_counter() - self._begin, 1e-9)
        self._status.update(
            f"{name}: {self._images} images attacked, {rate:.0f} images/s, "
            f"{standing / self._examples:.2%} of all still stand"
        )
