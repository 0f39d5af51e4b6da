"""Times of things done in turn, so that what else runs on the machine slows all of them alike."""

import statistics
import time
from collections.abc import Callable, Sequence


def in_turn(
    runs: Sequence[Callable[[], object]],
    rounds: int,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> list[tuple[float, ...]]:
    """Seconds of each, A B C A B C, without the first rounds.

    Args:
        runs: what is timed; each must have ended when it returns.
        rounds: that count.
        warm_up: that come before and do not.
        clock: whose seconds; `time.process_time` for those of all cores together.

    Returns:
        `rounds` seconds for each.
    """
    measured = [[_seconds(run, clock) for run in runs] for _ in range(warm_up + rounds)]
    return list(zip(*measured[warm_up:], strict=True))


def ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """Median of the ratios of neighbours."""
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


def _seconds(run: Callable[[], object], clock: Callable[[], float]) -> float:
    begin = clock()
    run()
    return clock() - begin
