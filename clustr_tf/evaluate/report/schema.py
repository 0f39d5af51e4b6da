"""What robustness.json, certificates.json and robustness.npz must hold for a report."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from clustr_tf.run.errors import InputError

_PAIR = [float, float]
_MEASURED = {"accuracy": float, "interval_95": _PAIR}
_SERIES = {"accuracy": [float], "interval_95": [_PAIR]}

# A type; {key: ...} with "?" after keys that may be missing or null; {str: ...} for any keys;
# [...] for any number of entries; [..., ...] for exactly these.
SCHEMA: dict[Any, Any] = {
    "command": str,
    "protocol?": str,
    "weights?": str,
    "model": str,
    "data": str,
    "eps": float,
    "norm": str,
    "seed": int,
    "examples": int,
    "classes": [str],
    "attacks": {
        str: _MEASURED
        | {
            "seconds?": float,
            "attacked?": int,
            "steps?": int,
            "restarts?": int,
            "queries?": int,
            "draws?": int,
            "targets?": int,
            "losses?": [str],
            "stages?": [str],
            "after?": {str: float},
        }
    },
    "clean_accuracy": float,
    "worst_case_accuracy?": float,
    "worst_case_interval_95?": _PAIR,
    "worst_case_attack?": str,
    "masking_gap?": float,
    "per_class?": [
        {"name": str, "examples": int, "clean_accuracy": float, "worst_case_accuracy": float}
    ],
    "curve?": {"eps": [float], "attacks": {str: _SERIES}},
    "diagnostics?": [
        {"name": str, "value": float, "threshold": float, "passed": bool, "meaning": str}
    ],
    "config?": dict,
    "versions?": dict,
}

# What certificates.json must hold.
CERTIFICATES: dict[Any, Any] = {
    "proofs": [
        {
            "key": str,
            "title": str,
            "clean_accuracy": float,
            "median_radius_l2": float,
            "median_radius_linf": float,
            "abstentions": float,
            "seconds_per_image": float,
        }
    ],
}


def check(value: Any, schema: Any, place: str) -> None:
    """Compares JSON values with a schema.

    Args:
        value: what `json.loads` gave.
        schema: like `SCHEMA`.
        place: where the value stands, for the message.

    Raises:
        InputError: at the first difference, in one line.

    Example:
        >>> check({"eps": "big"}, {"eps": float}, "robustness.json")
    """
    kind: type = schema if isinstance(schema, type) else type(schema)
    # bool is an int in Python, but True is no accuracy; an int is a fine float.
    allowed: Any = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{place} must be of type {kind.__name__}. Received: {value!r}")
    if isinstance(schema, list):
        if len(schema) > 1 and len(value) != len(schema):
            raise InputError(f"{place} must hold {len(schema)} values. Received: {value!r}")
        for index, entry in enumerate(value):
            check(entry, schema[min(index, len(schema) - 1)], f"{place}[{index}]")
    elif isinstance(schema, dict) and str in schema:
        for name, entry in value.items():
            check(entry, schema[str], f"{place}.{name}")
    elif isinstance(schema, dict):
        for key, inner in schema.items():
            name = key.removesuffix("?")
            if value.get(name) is not None:
                check(value[name], inner, f"{place}.{name}")
            elif name == key:
                raise InputError(f"{place} has no {name!r}; evaluate again to write it")


# A letter is a size that must be the same wherever it stands, a digit is itself.
PER_EXAMPLE = {"labels": "N", "clean_predictions": "N", "robust": "N"}
GALLERY = {
    "gallery_rows": "G",
    "gallery_images": "GHWC",
    "gallery_adversarial": "GHWC",
    "gallery_predictions": "G",
}
MAP = {
    "map_rows": "P",
    "map_points": "P2",
    "map_images": "PHWC",
    "map_centroids": "M2",
    "map_centroid_labels": "M",
    "map_explained": "2",
}
_ROWS = ("gallery_rows", "map_rows")
_CLASSES = ("labels", "clean_predictions", "gallery_predictions", "map_centroid_labels")


def check_arrays(arrays: Mapping[str, np.ndarray], examples: int, classes: int, place: str) -> None:
    """Checks that the arrays are complete and that every index means something.

    Args:
        arrays: those of robustness.npz that the report uses.
        examples: number of evaluated images.
        classes: number of classes.
        place: the file, for the message.

    Raises:
        InputError: at the first difference, in one line.

    Example:
        >>> check_arrays({"labels": labels}, 360, 10, "robustness.npz")  # clean_predictions missing
    """
    sizes = {"N": examples}
    for group in (PER_EXAMPLE, GALLERY, MAP):
        if group is PER_EXAMPLE or any(name in arrays for name in group):
            for name, shape in group.items():
                _check_shape(arrays, name, shape, sizes, place)
    for names, limit in ((_ROWS, examples), (_CLASSES, classes)):
        for name in names:
            if name in arrays and not _are_indices(arrays[name], limit):
                raise InputError(
                    f"{place}: {name!r} must hold integers in [0, {limit}); evaluate again"
                )


def _check_shape(
    arrays: Mapping[str, np.ndarray], name: str, shape: str, sizes: dict[str, int], place: str
) -> None:
    if name not in arrays:
        raise InputError(f"{place} has no array {name!r}; evaluate again to write it")
    found = arrays[name].shape
    fits = len(found) == len(shape) and all(
        size == (int(axis) if axis.isdigit() else sizes.setdefault(axis, size))
        for axis, size in zip(shape, found, strict=True)
    )
    if not fits:
        raise InputError(
            f"{place}: {name!r} of shape {found} does not fit the other arrays; evaluate again"
        )


def _are_indices(values: np.ndarray, limit: int) -> bool:
    return values.dtype.kind in "iu" and bool(np.all((values >= 0) & (values < limit)))
