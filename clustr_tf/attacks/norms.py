"""The norms that balls are measured in."""

import numpy as np

NORMS: dict[str, float] = {"linf": np.inf, "l2": 2}


def norm_order(norm: str) -> float:
    """The order of a norm.

    Args:
        norm: a key of `NORMS`.

    Returns:
        `np.inf` or 2.

    Raises:
        ValueError: if it is no such key.

    Example:
        >>> norm_order("l2")  # 2
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {sorted(NORMS)}. Received: {norm!r}")
    return NORMS[norm]
