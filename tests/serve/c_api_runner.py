"""Answers a SavedModel's signatures through TensorFlow's C API alone.

`TF_LoadSessionFromSavedModel` is what TensorFlow Serving's core does: read the graph, restore the
variables, run a session. The libraries are those of the installed wheel, by ctypes; Python's
TensorFlow and this project are not imported.
"""

import ctypes
import functools
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

import numpy as np

from tests.serve.c_api_protos import installed_tensorflow, without_tensorflow

without_tensorflow()
from tensorflow.core.framework import types_pb2  # noqa: E402
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2  # noqa: E402

_NUMPY = {
    types_pb2.DT_FLOAT: np.float32,
    types_pb2.DT_DOUBLE: np.float64,
    types_pb2.DT_INT32: np.int32,
    types_pb2.DT_INT64: np.int64,
    types_pb2.DT_UINT8: np.uint8,
    types_pb2.DT_BOOL: np.bool_,
    types_pb2.DT_HALF: np.float16,
}
_DATA_TYPES = {np.dtype(numpy): number for number, numpy in _NUMPY.items()}
# sizeof(TF_TString) of tf_tstring.h.
_STRING_BYTES = 24


class RunnerError(Exception):
    """A refusal: `code` is TensorFlow's and gRPC's number, `message` its words."""

    def __init__(self, code: int, message: str):
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class _Buffer(Structure):
    _fields_ = [("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p)]


class _Output(Structure):
    _fields_ = [("operation", c_void_p), ("index", c_int)]


# name -> result, arguments; as declared in c_api.h, tf_tensor.h, tf_status.h and tf_tstring.h.
_FUNCTIONS = {
    "TF_NewStatus": (c_void_p, []),
    "TF_DeleteStatus": (None, [c_void_p]),
    "TF_GetCode": (c_int, [c_void_p]),
    "TF_Message": (c_char_p, [c_void_p]),
    "TF_NewBuffer": (POINTER(_Buffer), []),
    "TF_DeleteBuffer": (None, [POINTER(_Buffer)]),
    "TF_NewGraph": (c_void_p, []),
    "TF_GraphOperationByName": (c_void_p, [c_void_p, c_char_p]),
    "TF_NewSessionOptions": (c_void_p, []),
    "TF_DeleteSessionOptions": (None, [c_void_p]),
    "TF_SetConfig": (None, [c_void_p, c_char_p, c_size_t, c_void_p]),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        [
            c_void_p,
            c_void_p,
            c_char_p,
            POINTER(c_char_p),
            c_int,
            c_void_p,
            POINTER(_Buffer),
            c_void_p,
        ],
    ),
    "TF_SessionRun": (
        None,
        [
            c_void_p,
            c_void_p,
            POINTER(_Output),
            POINTER(c_void_p),
            c_int,
            POINTER(_Output),
            POINTER(c_void_p),
            c_int,
            c_void_p,
            c_int,
            c_void_p,
            c_void_p,
        ],
    ),
    "TF_AllocateTensor": (c_void_p, [c_int, POINTER(c_int64), c_int, c_size_t]),
    "TF_DeleteTensor": (None, [c_void_p]),
    "TF_TensorType": (c_int, [c_void_p]),
    "TF_NumDims": (c_int, [c_void_p]),
    "TF_Dim": (c_int64, [c_void_p, c_int]),
    "TF_TensorData": (c_void_p, [c_void_p]),
    "TF_TensorByteSize": (c_size_t, [c_void_p]),
    "TF_StringInit": (None, [c_void_p]),
    "TF_StringCopy": (None, [c_void_p, c_char_p, c_size_t]),
    "TF_StringGetSize": (c_size_t, [c_void_p]),
    "TF_StringGetDataPointer": (c_void_p, [c_void_p]),
}


@functools.cache
def _library() -> ctypes.CDLL:
    # Locally: its copy of OpenSSL's functions must not replace those of Python's modules.
    library = ctypes.CDLL(str(installed_tensorflow() / "libtensorflow_cc.so.2"), ctypes.RTLD_LOCAL)
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class _Status:
    """A TF_Status for one call; raises what it says."""

    def __enter__(self) -> c_void_p:
        self._status = _library().TF_NewStatus()
        return self._status

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        code, words = _library().TF_GetCode(self._status), _library().TF_Message(self._status)
        _library().TF_DeleteStatus(self._status)
        if code:
            raise RunnerError(code, words.decode("utf-8", "replace"))


class Runner:
    """A loaded SavedModel; may be called by several threads at once.

    Args:
        folder: of one version, with saved_model.pb.
        threads: of each of the session's two pools.

    Attributes:
        signatures: name -> SignatureDef.

    Raises:
        RunnerError: if it can't be loaded.

    Example:
        >>> Runner(Path("models/clustr/1")).run("serving_default", {"images": images})
    """

    def __init__(self, folder: Path, threads: int = 2):
        library = _library()
        config = config_pb2.ConfigProto(
            intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads
        ).SerializeToString()
        options = library.TF_NewSessionOptions()
        with _Status() as status:
            library.TF_SetConfig(options, config, len(config), status)
        self._graph, buffer = library.TF_NewGraph(), library.TF_NewBuffer()
        tags = (c_char_p * 1)(b"serve")
        with _Status() as status:
            self._session = library.TF_LoadSessionFromSavedModel(
                options, None, str(folder).encode(), tags, 1, self._graph, buffer, status
            )
        library.TF_DeleteSessionOptions(options)
        meta = meta_graph_pb2.MetaGraphDef.FromString(
            ctypes.string_at(buffer.contents.data, buffer.contents.length)
        )
        library.TF_DeleteBuffer(buffer)
        self.signatures = {
            name: signature
            for name, signature in meta.signature_def.items()
            if signature.method_name == "tensorflow/serving/predict"
        }

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name; strings are object arrays of bytes.

        Raises:
            RunnerError: INVALID_ARGUMENT (3) for inputs of other names or types, NOT_FOUND (5) for
                another signature, else what the graph says.
        """
        if signature not in self.signatures:
            raise RunnerError(5, f"Serving signature name: {signature!r} not found")
        definition = self.signatures[signature]
        if inputs.keys() != definition.inputs.keys():
            raise RunnerError(3, f"inputs must be {sorted(definition.inputs)}: {sorted(inputs)}")
        fetched = sorted(definition.outputs)
        sources = [self._output(definition.inputs[name].name) for name in inputs]
        sinks = [self._output(definition.outputs[name].name) for name in fetched]
        results = (c_void_p * len(sinks))()
        tensors: list[int] = []
        try:
            tensors.extend(map(_tensor, inputs.values()))
            with _Status() as status:
                _library().TF_SessionRun(
                    self._session,
                    None,
                    (_Output * len(sources))(*sources),
                    (c_void_p * len(tensors))(*tensors),
                    len(tensors),
                    (_Output * len(sinks))(*sinks),
                    results,
                    len(sinks),
                    None,
                    0,
                    None,
                    status,
                )
            return {name: _array(tensor) for name, tensor in zip(fetched, results, strict=True)}
        finally:
            for tensor in [*tensors, *filter(None, results)]:
                _library().TF_DeleteTensor(tensor)

    def _output(self, name: str) -> _Output:
        operation, _, index = name.partition(":")
        found = _library().TF_GraphOperationByName(self._graph, operation.encode())
        return _Output(found, int(index))


def _tensor(array: np.ndarray) -> int:
    """A tensor of an array's values; object arrays hold bytes."""
    dimensions = (c_int64 * array.ndim)(*array.shape)
    library = _library()
    if array.dtype == object:
        size = _STRING_BYTES * array.size
        tensor = library.TF_AllocateTensor(types_pb2.DT_STRING, dimensions, array.ndim, size)
        data = library.TF_TensorData(tensor)
        for number, value in enumerate(array.reshape(-1)):
            place = byref((ctypes.c_char * 0).from_address(data), number * _STRING_BYTES)
            library.TF_StringInit(place)
            library.TF_StringCopy(place, value, len(value))
        return tensor
    number = _DATA_TYPES.get(array.dtype)
    if number is None:
        raise RunnerError(3, f"no tensors of {array.dtype}")
    tensor = library.TF_AllocateTensor(number, dimensions, array.ndim, array.nbytes)
    ctypes.memmove(
        library.TF_TensorData(tensor), np.ascontiguousarray(array).ctypes.data, array.nbytes
    )
    return tensor


def _array(tensor: int) -> np.ndarray:
    library = _library()
    shape = [library.TF_Dim(tensor, axis) for axis in range(library.TF_NumDims(tensor))]
    content = ctypes.string_at(library.TF_TensorData(tensor), library.TF_TensorByteSize(tensor))
    return np.frombuffer(content, _NUMPY[library.TF_TensorType(tensor)]).reshape(shape).copy()
