"""Shares with their 95 % intervals."""

import math
from typing import Any


def measured(accuracy: float, examples: int) -> dict[str, Any]:
    """An accuracy with its 95 % interval.

    Args:
        accuracy: in [0, 1].
        examples: that it was measured on.

    Returns:
        `accuracy` and `interval_95`.
    """
    return {"accuracy": accuracy, "interval_95": list(wilson_interval(accuracy, examples))}


def wilson_interval(share: float, examples: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share.

    Args:
        share: observed share in [0, 1].
        examples: how many examples it was observed on, at least 1.

    Returns:
        (low, high).

    Example:
        >>> wilson_interval(0.5, 100)  # (0.404, 0.596)

    Reference:
        Wilson, "Probable inference", JASA 22 (1927).
    """
    z = 1.959963984540054
    spread = z**2 / examples
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / examples + spread / 4 / examples)
    return centre - half, centre + half
