"""A model server over REST: TensorFlow Serving's predict API, columns in and out."""

import base64
import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any
from urllib.parse import quote

import numpy as np
import requests
from requests.adapters import HTTPAdapter

from clustr_tf.serve.transport import (
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    RETRIED,
    Arrays,
    Server,
    ServerError,
    certificates,
)

_Answer = tuple[int, Mapping[str, str], bytes]  # status, headers, content

_OK = 200
# What gRPC calls the statuses that TensorFlow Serving, and proxies in front of it, answer with.
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    412: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_CHUNK_BYTES = 2**14
# requests takes no timeout of 0.
_SHORTEST_S = 1e-3


class RestTransport:
    """Asks a server over REST.

    Args:
        server: where, and how patiently.

    Raises:
        OSError: if the file of certificates cannot be read, or holds none.

    Example:
        >>> RestTransport(Server("127.0.0.1", 8501, "clustr")).ask("embed", {"images": images})

    Reference:
        "RESTful API" of TensorFlow Serving: predict, column format.
    """

    def __init__(self, server: Server):
        self._server = server
        self._verify: bool | str = True
        scheme = "http"
        if server.ca_file is not None:
            certificates(server.ca_file)
            scheme, self._verify = "https", str(server.ca_file)
        version = ""
        if server.version is not None:
            version = f"/versions/{server.version}"
        elif server.label is not None:
            version = f"/labels/{quote(server.label, safe='')}"
        model = quote(server.model, safe="")
        self._url = f"{scheme}://{server.host}:{server.port}/v1/models/{model}{version}:predict"
        self._session = requests.Session()
        self._session.mount(f"{scheme}://", HTTPAdapter(max_retries=0))

    def ask(self, signature: str, inputs: Arrays) -> Arrays:
        """Outputs by name; see `Transport`."""
        columns = {name: _jsonable(values) for name, values in inputs.items()}
        body = json.dumps({"signature_name": signature, "inputs": columns}).encode()
        if len(body) > self._server.max_message_bytes:
            raise ServerError(
                "RESOURCE_EXHAUSTED",
                f"a request of {len(body)} bytes is above {self._server.max_message_bytes}",
            )
        end = time.monotonic() + self._server.timeout_s
        waits = [FIRST_WAIT_S * 2**attempt for attempt in range(self._server.retries)]
        for wait in [*waits, math.inf]:
            try:
                return _outputs(self._answer(body, end))
            except _LaterError as later:
                pause = min(max(wait, later.asked_s), LONGEST_WAIT_S)
                if wait == math.inf or time.monotonic() + pause >= end:
                    raise later.error from later
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _answer(self, body: bytes, end: float) -> bytes:
        """What one attempt gets, if it is what was asked for."""
        seconds = end - time.monotonic()
        try:
            status, headers, content = _within(seconds, lambda: self._post(body, seconds))
        except (TimeoutError, requests.Timeout) as error:
            raise ServerError(
                "DEADLINE_EXCEEDED", f"no answer in {self._server.timeout_s:g} s"
            ) from error
        except requests.exceptions.SSLError as error:
            raise ServerError("UNAVAILABLE", f"TLS: {error}") from error
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise _LaterError(ServerError("UNAVAILABLE", str(error))) from error
        except (OSError, ValueError) as error:  # requests' own errors are OSErrors
            raise ServerError("UNAVAILABLE", str(error)) from error
        if status == _OK:
            return content
        refusal = ServerError(_STATUSES.get(status, f"HTTP {status}"), _words(status, content))
        if status in RETRIED.values():
            raise _LaterError(refusal, _seconds_of(headers.get("Retry-After", "")))
        raise refusal

    def _post(self, body: bytes, seconds: float) -> _Answer:
        most, content = self._server.max_message_bytes, bytearray()
        with self._session.post(
            self._url,
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=max(seconds, _SHORTEST_S),
            verify=self._verify,
            allow_redirects=False,
            stream=True,
        ) as answer:
            for chunk in answer.iter_content(_CHUNK_BYTES):
                content += chunk
                if len(content) > most:
                    raise ServerError("RESOURCE_EXHAUSTED", f"the answer is above {most} bytes")
            return answer.status_code, answer.headers, bytes(content)


class _LaterError(Exception):
    """A refusal after which it is worth asking again."""

    def __init__(self, error: ServerError, asked_s: float = 0.0):
        super().__init__(str(error))
        self.error, self.asked_s = error, asked_s


def _within(seconds: float, call: Callable[[], _Answer]) -> _Answer:
    """The result of a call, or TimeoutError.

    A socket's timeout starts anew with every byte, so that whoever sends them slowly enough keeps
    a caller for ever; this one goes on. The call itself is left to a thread that does not keep the
    process alive, as a pool's would, and must end by itself some day.
    """
    outcome: Future[_Answer] = Future()

    def work() -> None:
        try:
            outcome.set_result(call())
        except Exception as error:  # whatever it is, it is the caller's
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return outcome.result(timeout=max(seconds, 0))


def _seconds_of(retry_after: str) -> float:
    """Of the header's two forms the number; a date counts as nothing."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdecimal() else 0.0


def _words(status: int, content: bytes) -> str:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):  # a proxy's HTML, say
        return f"HTTP {status} without JSON"
    return str(values.get("error", values) if isinstance(values, dict) else values)


def _outputs(content: bytes) -> Arrays:
    try:
        values: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ServerError("UNKNOWN", "the answer is no JSON") from error
    if not isinstance(values, dict) or not isinstance(values.get("outputs"), dict):
        raise ServerError("UNKNOWN", "the answer has no outputs by name")
    return {name: _array(name, column) for name, column in values["outputs"].items()}


def _array(name: str, column: Any) -> np.ndarray:
    try:
        array = np.asarray(column)
    except ValueError as error:  # rows of different lengths
        raise ServerError("UNKNOWN", f"the answer's {name} is no tensor: {error}") from error
    if array.dtype == object:
        raise ServerError("UNKNOWN", f"the answer's {name} is no tensor: it has null or objects")
    return array


def _jsonable(values: np.ndarray) -> Any:
    """Nested lists; bytes as {"b64": ...}."""
    if values.dtype == object:
        return [{"b64": base64.b64encode(value).decode()} for value in values]
    return values.tolist()
