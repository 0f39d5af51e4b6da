"""A test double of a model server: PredictionService and the REST predict API on 127.0.0.1.

    python -m tests.serve.double models/clustr/1 clustr

It answers through TensorFlow's C API (`c_api_runner`), which is what TensorFlow Serving's core
does; statuses, URLs and formats are TensorFlow Serving's as documented. It is no model server: no
versions but one, no batching, no reloading. Prints its ports as JSON; ends with its input.
"""

import json
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np

# First of all: it lets the messages be imported without Python's TensorFlow.
from tests.serve.c_api_runner import Runner, RunnerError  # isort: skip
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serve import rest_json
from tests.serve.tensor_codec import array_of, proto_of

MOST_BYTES = 64 * 2**20
_PREDICT = re.compile(r"/v1/models/([^/]+)(?:/versions/(\d+)|/labels/([^/]+))?:predict")
_HTTP = {3: 400, 5: 404, 9: 412, 8: 413}
INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION = 3, 5, 9


class Servable:
    """One version of one model."""

    def __init__(self, folder: Path, name: str):
        self.runner, self._name, self._version = Runner(folder), name, int(folder.name)

    def check(self, name: str, version: int | None, label: str | None) -> None:
        """Refuses other models, versions and labels."""
        if label:
            raise RunnerError(
                INVALID_ARGUMENT, f"Unrecognized servable version label: {label} of {name}"
            )
        if name != self._name or version not in (None, self._version):
            raise RunnerError(NOT_FOUND, f"Servable not found for request: {name}, {version}")

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As the runner, but for an unknown signature's status."""
        signature = signature or "serving_default"
        if signature not in self.runner.signatures:
            raise RunnerError(
                FAILED_PRECONDITION, f'Serving signature key "{signature}" not found.'
            )
        return self.runner.run(signature, inputs)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata."""

    def __init__(self, servable: Servable):
        self._servable = servable

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        spec = request.model_spec
        try:
            self._check(spec)
            inputs = {name: _array(name, proto) for name, proto in request.inputs.items()}
            outputs = self._servable.run(spec.signature_name, inputs)
        except RunnerError as error:
            _abort(context, error)
        response = predict_pb2.PredictResponse(
            outputs={name: proto_of(values) for name, values in outputs.items()}
        )
        response.model_spec.CopyFrom(spec)
        return response

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        try:
            self._check(request.model_spec)
        except RunnerError as error:
            _abort(context, error)
        definitions = get_model_metadata_pb2.SignatureDefMap(
            signature_def=self._servable.runner.signatures
        )
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.metadata["signature_def"].Pack(definitions)
        return response

    def _check(self, spec: Any) -> None:
        version = spec.version.value if spec.HasField("version") else None
        self._servable.check(spec.name, version, spec.version_label or None)


def _array(name: str, proto: Any) -> np.ndarray:
    try:
        return array_of(proto)
    except ValueError as error:
        raise RunnerError(INVALID_ARGUMENT, f"{name}: {error}") from error


def _abort(context: Any, error: RunnerError) -> None:
    code = next(code for code in grpc.StatusCode if code.value[0] == error.code)
    context.abort(code, error.message)


def rest_handler(servable: Servable) -> type[BaseHTTPRequestHandler]:
    """Handles POST /v1/models/NAME[/versions/N|/labels/L]:predict, rows and columns."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body are two packets, of which the second waits 40 ms for the first's receipt.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            try:
                if length > MOST_BYTES:
                    self.close_connection = True
                    raise RunnerError(8, f"a body of {length} bytes is above {MOST_BYTES}")
                answer = self._answer(self.rfile.read(length))
            except RunnerError as error:
                self._send(_HTTP.get(error.code, 500), {"error": error.message})
            else:
                self._send(200, answer)

        def _answer(self, body: bytes) -> dict[str, Any]:
            found = _PREDICT.fullmatch(self.path)
            if found is None:
                raise RunnerError(NOT_FOUND, f"Malformed request: POST {self.path}")
            name, version, label = found.groups()
            servable.check(name, int(version) if version else None, label)
            try:
                signature, columns = rest_json.columns_of(body)
                inputs = self._inputs(signature, columns)
            except rest_json.FormatError as error:
                raise RunnerError(INVALID_ARGUMENT, str(error)) from error
            outputs = servable.run(signature, inputs)
            try:
                return rest_json.answer_of(outputs, columns.are_rows)
            except rest_json.FormatError as error:
                raise RunnerError(INVALID_ARGUMENT, str(error)) from error

        def _inputs(self, signature: str, columns: rest_json.Columns) -> dict[str, np.ndarray]:
            definition = servable.runner.signatures.get(signature)
            if definition is None:
                return {}  # which is refused by its name
            types = {name: info.dtype for name, info in definition.inputs.items()}
            return rest_json.arrays_of(columns, types)

        def _send(self, status: int, values: dict[str, Any]) -> None:
            body = json.dumps(values).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    return Handler


def main() -> None:
    servable = Servable(Path(sys.argv[1]), sys.argv[2])
    limits = [("grpc.max_receive_message_length", MOST_BYTES)]
    server = grpc.server(ThreadPoolExecutor(8), options=limits)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(servable), server
    )
    grpc_port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    rest = ThreadingHTTPServer(("127.0.0.1", 0), rest_handler(servable))
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    print(json.dumps({"grpc": grpc_port, "rest": rest.server_port}), flush=True)
    sys.stdin.read()
    rest.shutdown()
    server.stop(None)


if __name__ == "__main__":
    main()
