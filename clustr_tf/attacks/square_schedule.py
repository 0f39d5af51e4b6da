"""How large the Square attack's squares are, and what its l2 variant puts into them."""

import math

import numpy as np

_FIRST_SHARE = 0.8  # of the pixels that the first square covers
# Out of 10,000 queries: after so many the share is halved once more.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_SMALLEST_L2_SIDE = 3


def square_share(query: int, queries: int) -> float:
    """The share of the pixels that a square covers.

    Args:
        query: its number, counted from 0.
        queries: of the attack; the schedule is stretched to them.

    Returns:
        0.8, halved at nine fixed shares of the queries.

    Example:
        >>> square_share(0, 5000), square_share(6, 5000)  # (0.8, 0.4)

    Reference:
        Andriushchenko et al., arXiv 1912.00049, section 5; rescaled as in AutoAttack.
    """
    at = int(query / queries * 10_000)
    return _FIRST_SHARE / 2 ** sum(at > bound for bound in _HALVINGS)


def side_of(share: float, image_shape: tuple[int, int, int], norm: str) -> int:
    """The side of a square that covers a share of the pixels.

    Args:
        share: of the pixels.
        image_shape: (H, W, C).
        norm: in "l2" sides are odd and at least 3.

    Returns:
        Pixels, at most the shorter side of the image.
    """
    height, width, _ = image_shape
    side = max(round(math.sqrt(share * height * width)), 1)
    if norm == "l2":
        side = max(side, _SMALLEST_L2_SIDE)
        side += side % 2 == 0
    return min(side, height, width)


def two_hills(side: int) -> np.ndarray:
    """A hill beside a hole, of l2 norm 1: what the l2 attack puts into a square.

    Args:
        side: of the square.

    Returns:
        float32 `[side, side]`, the hill in the upper half.

    Reference:
        Andriushchenko et al., arXiv 1912.00049, equation 4.
    """
    upper, lower = side // 2, side - side // 2
    pattern = np.zeros((side, side))
    pattern[:upper] = _hill(upper, side)
    pattern[upper:] = -_hill(lower, side)
    return (pattern / np.linalg.norm(pattern)).astype(np.float32)


def _hill(height: int, width: int) -> np.ndarray:
    """Concentric rectangles, each 1 / n^2 higher than the one around it; l2 norm 1."""
    hill = np.zeros((height, width))
    middle = height // 2, width // 2
    for ring in range(max(middle) + 1):
        rows = slice(max(middle[0] - ring, 0), middle[0] + ring + 1)
        columns = slice(max(middle[1] - ring, 0), middle[1] + ring + 1)
        hill[rows, columns] += 1 / (ring + 1) ** 2
    norm = float(np.linalg.norm(hill))
    return hill / norm if norm else hill
