"""TensorProto messages and NumPy arrays, without Python's TensorFlow."""

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2

# dtype number -> NumPy's type, the field of values that are not in tensor_content.
_TYPES = {
    types_pb2.DT_FLOAT: (np.float32, "float_val"),
    types_pb2.DT_DOUBLE: (np.float64, "double_val"),
    types_pb2.DT_INT32: (np.int32, "int_val"),
    types_pb2.DT_INT64: (np.int64, "int64_val"),
    types_pb2.DT_UINT8: (np.uint8, "int_val"),
    types_pb2.DT_BOOL: (np.bool_, "bool_val"),
}
_NUMBERS = {np.dtype(numpy): number for number, (numpy, _) in _TYPES.items()}


def array_of(proto: tensor_pb2.TensorProto) -> np.ndarray:
    """As tensorflow/core/framework/tensor.proto says: missing values repeat the last one.

    Raises:
        ValueError: for other types, and for another number of values than the shape has.
    """
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    count = int(np.prod(shape, dtype=np.int64))
    if proto.dtype == types_pb2.DT_STRING:
        values = np.empty(count, object)
        values[:] = list(proto.string_val)
        return values.reshape(shape)
    if proto.dtype not in _TYPES:
        raise ValueError(f"no tensors of {types_pb2.DataType.Name(proto.dtype)}")
    numpy, field = _TYPES[proto.dtype]
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, numpy).reshape(shape)
    values = np.asarray(getattr(proto, field), numpy)
    repeated = np.resize(values, count) if len(values) == 1 else values
    return repeated.reshape(shape)


def proto_of(array: np.ndarray) -> tensor_pb2.TensorProto:
    """A message of numbers, which all outputs are."""
    proto = tensor_pb2.TensorProto(
        dtype=_NUMBERS[array.dtype], tensor_content=np.ascontiguousarray(array).tobytes()
    )
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    return proto
