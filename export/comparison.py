"""Whether a server's outputs are the model's: names, types, shapes, values."""

import numpy as np

from export.contract import OUTPUTS
from export.transport import Arrays

# Of float32 through another engine, relative to the largest value.
_TOLERANCE = 1e-4
# By which a radius may be above the proved one: float32's rounding of what is the same number.
_ABOVE = 1e-6
_RADII = ("certified_radius_l2", "certified_radius_linf")
# JSON has numbers: 1.0 may come as 1.
_KINDS = {"int64": "iu", "float32": "fiu", "bool": "b"}


def check_outputs(signature: str, found: Arrays, wanted: Arrays, typed: bool) -> None:
    """Compares an answer with the model's.

    Args:
        signature: its name; the outputs must be exactly its own.
        found: the server's outputs.
        wanted: the model's, of any signature.
        typed: whether numbers travel with their type, as over gRPC.

    Raises:
        AssertionError: in words, where they differ. Certified radii may be a little smaller than
            the model's, but above them by 1e-6 of the largest at most.

    Example:
        >>> check_outputs("embed", transport.ask("embed", inputs), model.answers(images), True)
    """
    outputs = OUTPUTS[signature]
    assert found.keys() == outputs.keys(), f"the outputs are {sorted(found)}, not {sorted(outputs)}"
    for name, dtype in outputs.items():
        values = found[name]
        if typed:
            assert values.dtype == dtype, f"{name} is {values.dtype}, not {dtype}"
        else:
            assert values.dtype.kind in _KINDS[dtype], f"{name} is {values.dtype}, not {dtype}"
        _check_values(name, values, wanted[name])


def _check_values(name: str, values: np.ndarray, wanted: np.ndarray) -> None:
    assert values.shape == wanted.shape, f"{name} has the shape {values.shape}, not {wanted.shape}"
    if wanted.dtype.kind in "ib":
        assert np.array_equal(values, wanted), f"{name} differs"
        return
    # NaN is above no bound: what is asked is whether all is well, not whether something is wrong.
    difference = values.astype(np.float64) - wanted
    largest = max(np.max(np.abs(wanted)), 1e-30)
    error = np.max(np.abs(difference)) / largest
    assert error <= _TOLERANCE, f"{name} differs by {error:.1e} of its largest value"
    if name in _RADII:
        above = np.max(difference) / largest
        assert above <= _ABOVE, f"{name} is above the proved one by {above:.1e} of the largest"
