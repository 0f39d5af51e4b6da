"""Servers on 127.0.0.1 that answer what they are told to, also what no model server would."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.serve.tensor_codec import proto_of


@contextmanager
def http_server(answer, context=None):
    """A REST server; `answer(handler, number)` answers the number-th request, counted from 0.

    Args:
        answer: is called with the handler after the request has been read.
        context: of TLS; None for none.

    Yields:
        The server, with `server_port` and the number of `requests`.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            number, server.requests = server.requests, server.requests + 1
            answer(self, number)

        def log_message(self, *_):
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            """A client that has given up closes the connection."""

    server = Server(("127.0.0.1", 0), Handler)
    server.requests = 0
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def send(handler, status, content, **headers):
    """Answers with JSON, or with bytes as they are."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    for name, value in {"Content-Length": len(body), **headers}.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def grpc_server(answer, credentials=None):
    """A PredictionService; `answer(context, number)` gives arrays by name, or aborts.

    Yields:
        Its port.
    """

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        requests = 0

        def Predict(self, request, context):  # noqa: N802
            number, self.requests = self.requests, self.requests + 1
            arrays = answer(context, number)
            outputs = {name: proto_of(values) for name, values in arrays.items()}
            return predict_pb2.PredictResponse(outputs=outputs)

    server = grpc.server(ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
