"""JSON of TensorFlow Serving's REST predict API, to arrays and back, as documented."""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2

_NUMPY = {
    types_pb2.DT_FLOAT: np.float32,
    types_pb2.DT_UINT8: np.uint8,
    types_pb2.DT_INT64: np.int64,
    types_pb2.DT_BOOL: np.bool_,
    types_pb2.DT_STRING: object,
}


class FormatError(ValueError):
    """A body that is refused, in words."""


@dataclass(frozen=True)
class Columns:
    """Values by input; of an only input that was not named, the values alone."""

    values: Any
    are_rows: bool


def columns_of(body: bytes) -> tuple[str, Columns]:
    """The signature's name and the inputs."""
    try:
        request = json.loads(body)
    except ValueError as error:
        raise FormatError(f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise FormatError("JSON Parse error: the body must be an object")
    signature = request.get("signature_name", "serving_default")
    if not isinstance(signature, str):
        raise FormatError("'signature_name' key must be a string value.")
    if ("instances" in request) == ("inputs" in request):
        raise FormatError("JSON must have one of the keys 'instances' and 'inputs'")
    if "inputs" in request:
        return signature, Columns(request["inputs"], are_rows=False)
    rows = request["instances"]
    if not isinstance(rows, list) or not rows:
        raise FormatError("Expecting 'instances' to be an list/array with at least one element")
    if not all(isinstance(row, dict) and "b64" not in row for row in rows):
        return signature, Columns(rows, are_rows=True)
    if any(row.keys() != rows[0].keys() for row in rows):
        raise FormatError("every element of 'instances' must have the same keys")
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return signature, Columns(columns, are_rows=True)


def arrays_of(columns: Columns, types: dict[str, int]) -> dict[str, np.ndarray]:
    """The inputs as arrays of a signature's types."""
    values = columns.values
    if not isinstance(values, dict) or "b64" in values:
        if len(types) != 1:
            raise FormatError(f"inputs must be named, for there are several: {sorted(types)}")
        values = dict.fromkeys(types, values)
    if values.keys() != types.keys():
        raise FormatError(f"inputs must be {sorted(types)}: {sorted(values)}")
    return {name: _array(column, types[name]) for name, column in values.items()}


def answer_of(outputs: dict[str, np.ndarray], are_rows: bool) -> dict[str, Any]:
    """Outputs as JSON: rows or columns; the only output has no name."""
    lists = {name: values.tolist() for name, values in outputs.items()}
    if not are_rows:
        return {"outputs": next(iter(lists.values())) if len(lists) == 1 else lists}
    for name, values in outputs.items():
        if not values.ndim:
            raise FormatError(f"Tensor name: {name} has no shape information")
    if len({len(values) for values in outputs.values()}) != 1:
        raise FormatError("Tensors have inconsistent batch sizes")
    if len(lists) == 1:
        return {"predictions": next(iter(lists.values()))}
    names = lists.keys()
    rows = zip(*lists.values(), strict=True)
    return {"predictions": [dict(zip(names, row, strict=True)) for row in rows]}


def _array(values: Any, dtype: int) -> np.ndarray:
    """A tensor of a type; numbers are of the very kind that the type is, integers wrap."""
    flat: list[Any] = []
    shape = _flatten(values, dtype, flat)
    if dtype == types_pb2.DT_STRING:
        array = np.empty(len(flat), object)
        array[:] = flat
    elif dtype == types_pb2.DT_UINT8:
        array = np.array([value % 256 for value in flat], np.uint8)
    else:
        with np.errstate(over="ignore"):
            array = np.array(flat, _NUMPY[dtype])
    return array.reshape(shape)


def _flatten(values: Any, dtype: int, flat: list[Any]) -> list[int]:
    """Collects the leaves; returns the shape."""
    if not isinstance(values, list):
        flat.append(_leaf(values, dtype))
        return []
    shapes = [_flatten(value, dtype, flat) for value in values]
    if any(shape != shapes[0] for shape in shapes):
        raise FormatError("Expecting tensor size: the rows have different sizes")
    return [len(values), *(shapes[0] if shapes else [])]


def _leaf(value: Any, dtype: int) -> Any:
    if dtype == types_pb2.DT_STRING:
        return _bytes(value)
    allowed: tuple[type, ...] = (int,)
    if dtype == types_pb2.DT_FLOAT:
        allowed = (int, float)
    elif dtype == types_pb2.DT_BOOL:
        allowed = (bool,)
    if type(value) not in allowed:
        raise FormatError(
            f"JSON Value: {json.dumps(value)} is not of expected type: "
            f"{types_pb2.DataType.Name(dtype)}"
        )
    return value


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, dict) or value.keys() != {"b64"} or not isinstance(value["b64"], str):
        raise FormatError('JSON Value is neither a string nor {"b64": ...}')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except binascii.Error as error:
        raise FormatError(f"JSON Value is no base64: {error}") from error
