"""Refusing a field of a settings object that is out of its range, in one line."""

from collections.abc import Callable, Collection
from typing import Any


def check(settings: object, allowed: str, holds: Callable[[Any], bool], *names: str) -> None:
    """Refuses the first of some fields that is out of its range.

    Args:
        settings: whose fields they are.
        allowed: their range in words, what comes after "must be".
        holds: the range.
        *names: of the fields.

    Raises:
        ValueError: if one is out of range.

    Example:
        >>> check(training, "above 0", lambda minutes: minutes > 0, "checkpoint_minutes")
    """
    for name in names:
        value = getattr(settings, name)
        if not holds(value):
            raise ValueError(f"{name} must be {allowed}. Received: {value!r}")


def check_at_least(settings: object, least: int, *names: str) -> None:
    """Refuses numbers below `least`; see `check`."""
    check(settings, f"at least {least}", lambda value: value >= least, *names)


def check_at_least_or_none(settings: object, least: int, *names: str) -> None:
    """Refuses numbers below `least`, but not None; see `check`."""
    check(settings, f"at least {least}", lambda value: value is None or value >= least, *names)


def check_one_of(settings: object, allowed: Collection[str], *names: str) -> None:
    """Refuses what is not among the allowed; see `check`."""
    check(settings, f"one of {list(allowed)}", lambda value: value in allowed, *names)


def check_at_least_0(settings: object, *names: str) -> None:
    """Refuses numbers below 0, infinity and NaN; see `check`."""
    check(settings, "at least 0", lambda value: 0 <= value < float("inf"), *names)


def check_eps(settings: object, *names: str) -> None:
    """Refuses l-infinity radii beyond the range of pixels; see `check`."""
    check(
        settings, "in [0, 1], as pixels are (8/255, not 8)", lambda value: 0 <= value <= 1, *names
    )


def check_above_0(settings: object, *names: str) -> None:
    """Refuses numbers that are not above 0, infinity and NaN; see `check`."""
    check(settings, "above 0", lambda value: 0 < value < float("inf"), *names)


def check_shares(settings: object, *names: str) -> None:
    """Refuses what is not in [0, 1]; see `check`."""
    check(settings, "in [0, 1]", lambda value: 0 <= value <= 1, *names)
