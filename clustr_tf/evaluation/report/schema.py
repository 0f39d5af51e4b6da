"""What the JSON files must hold for a report, and the check of them."""

from typing import Any

from clustr_tf.errors import InputError

_PAIR = [float, float]
_MEASURED = {"accuracy": float, "interval_95": _PAIR}
_SERIES = {"accuracy": [float], "interval_95": [_PAIR]}

# A type; {key: ...} with "?" after keys that may be missing or null; {str: ...} for any keys;
# [...] for any number of entries; [..., ...] for exactly these.
SCHEMA: dict[Any, Any] = {
    "command": str,
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
    "num_pixels": int,
    "proofs": [
        {
            "key": str,
            "title": str,
            "clean_accuracy": float,
            "mean_radius_l2": float,
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
    if isinstance(schema, dict):
        _check_type(value, dict, place)
        _check_entries(value, schema, place)
    elif isinstance(schema, list):
        _check_type(value, list, place)
        if len(schema) > 1 and len(value) != len(schema):
            raise InputError(f"{place} must hold {len(schema)} values. Received: {value!r}")
        for index, entry in enumerate(value):
            check(entry, schema[min(index, len(schema) - 1)], f"{place}[{index}]")
    else:
        _check_type(value, schema, place)


def _check_entries(value: dict[str, Any], schema: dict[Any, Any], place: str) -> None:
    if str in schema:
        for name, entry in value.items():
            check(entry, schema[str], f"{place}.{name}")
        return
    for key, inner in schema.items():
        name, optional = key.removesuffix("?"), key.endswith("?")
        if value.get(name) is not None:
            check(value[name], inner, f"{place}.{name}")
        elif not optional:
            raise InputError(f"{place} has no {name!r}; evaluate again to write it")


def _check_type(value: Any, kind: type, place: str) -> None:
    # bool is an int in Python, but True is no accuracy; an int is a fine float.
    allowed = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{place} must be of type {kind.__name__}. Received: {value!r}")
