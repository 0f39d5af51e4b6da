"""How far sums of products may be rounded."""

import math

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}


def gamma(terms: int, roundoff: float) -> float:
    """Relative error of a sum of `terms` products, in any order of summation.

    Args:
        terms: how many.
        roundoff: the unit roundoff u of the arithmetic.

    Returns:
        n u / (1 - n u); infinite where n u reaches 1, beyond 2^24 terms in float32.

    Example:
        >>> gamma(1, UNIT_ROUNDOFF["float32"])  # 5.96e-08

    Reference:
        Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1.
    """
    error = terms * roundoff
    return error / (1 - error) if error < 1 else math.inf
