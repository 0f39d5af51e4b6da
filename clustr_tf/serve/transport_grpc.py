"""A model server over gRPC: TensorFlow Serving's PredictionService."""

import json
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from clustr_tf.serve.transport import (
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    RETRIED,
    Arrays,
    Server,
    ServerError,
    certificates,
)


class GrpcTransport:
    """Asks a server over gRPC.

    Args:
        server: where, and how patiently.

    Raises:
        OSError: if the file of certificates cannot be read, or holds none.

    Example:
        >>> GrpcTransport(Server("127.0.0.1", 8500, "clustr")).ask("embed", {"images": images})

    Reference:
        prediction_service.proto of TensorFlow Serving; gRPC's service config for retries.
    """

    def __init__(self, server: Server):
        self._server = server
        options = [
            ("grpc.max_send_message_length", server.max_message_bytes),
            ("grpc.max_receive_message_length", server.max_message_bytes),
            ("grpc.enable_retries", int(server.retries > 0)),
            ("grpc.service_config", json.dumps(_service_config(server))),
        ]
        target = f"{server.host}:{server.port}"
        if server.ca_file is None:
            channel = grpc.insecure_channel(target, options)
        else:
            credentials = grpc.ssl_channel_credentials(certificates(server.ca_file))
            channel = grpc.secure_channel(target, credentials, options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def ask(self, signature: str, inputs: Arrays) -> Arrays:
        """Outputs by name; see `Transport`."""
        request = predict_pb2.PredictRequest(
            inputs={name: _tensor_proto(values) for name, values in inputs.items()}
        )
        self._name_model(request.model_spec)
        request.model_spec.signature_name = signature
        answer = self._call(self._stub.Predict, request)
        return {name: _array(name, proto) for name, proto in answer.outputs.items()}

    def signatures(self) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
        """Names and types of every signature's inputs and outputs.

        Raises:
            ServerError: as `ask`.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._name_model(request.model_spec)
        answer = self._call(self._stub.GetModelMetadata, request)
        definitions = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(definitions)
        return {
            name: (_types(definition.inputs), _types(definition.outputs))
            for name, definition in definitions.signature_def.items()
            if definition.method_name == "tensorflow/serving/predict"
        }

    def _name_model(self, spec: Any) -> None:
        spec.name = self._server.model
        if self._server.version is not None:
            spec.version.value = self._server.version
        if self._server.label is not None:
            spec.version_label = self._server.label

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self._server.timeout_s)
        except grpc.RpcError as error:
            raise ServerError(error.code().name, error.details() or "no details") from error


def _service_config(server: Server) -> dict[str, Any]:
    policy = {
        "maxAttempts": server.retries + 1,
        "initialBackoff": f"{FIRST_WAIT_S}s",
        "maxBackoff": f"{LONGEST_WAIT_S}s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": list(RETRIED),
    }
    return {"methodConfig": [{"name": [{}], **({"retryPolicy": policy} if server.retries else {})}]}


def _tensor_proto(values: np.ndarray) -> Any:
    if values.dtype == object:
        return tf.make_tensor_proto(values, tf.string, values.shape)
    return tf.make_tensor_proto(values)


def _array(name: str, proto: Any) -> np.ndarray:
    try:
        return tf.make_ndarray(proto)
    except (TypeError, ValueError) as error:
        raise ServerError("UNKNOWN", f"the answer's {name} is no tensor: {error}") from error


def _types(infos: dict[str, Any]) -> dict[str, str]:
    return {name: tf.as_dtype(info.dtype).name for name, info in infos.items()}
