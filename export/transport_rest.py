"""A model server over REST: TensorFlow Serving's predict API, columns in and out."""

import base64
import json
from http import HTTPStatus
from typing import Any

import numpy as np
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from export.transport import FIRST_WAIT_S, RETRIED, Arrays, Server, ServerError

# What gRPC calls the statuses that TensorFlow Serving answers with.
_STATUSES = {
    HTTPStatus.BAD_REQUEST: "INVALID_ARGUMENT",
    HTTPStatus.NOT_FOUND: "NOT_FOUND",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "RESOURCE_EXHAUSTED",
    HTTPStatus.PRECONDITION_FAILED: "FAILED_PRECONDITION",
    HTTPStatus.SERVICE_UNAVAILABLE: "UNAVAILABLE",
}


class RestTransport:
    """Asks a server over REST.

    Args:
        server: where, and how patiently.

    Example:
        >>> RestTransport(Server("127.0.0.1", 8501, "clustr")).ask("embed", {"images": images})

    Reference:
        "RESTful API" of TensorFlow Serving: predict, column format.
    """

    def __init__(self, server: Server):
        self._server = server
        scheme = "http" if server.ca_file is None else "https"
        version = ""
        if server.version is not None:
            version = f"/versions/{server.version}"
        elif server.label is not None:
            version = f"/labels/{server.label}"
        self._url = (
            f"{scheme}://{server.host}:{server.port}/v1/models/{server.model}{version}:predict"
        )
        retry = Retry(
            total=server.retries,
            backoff_factor=FIRST_WAIT_S,
            status_forcelist=list(RETRIED.values()),
            allowed_methods=["POST"],
            raise_on_status=False,
        )
        self._session = requests.Session()
        self._session.mount(f"{scheme}://", HTTPAdapter(max_retries=retry))
        if server.ca_file is not None:
            self._session.verify = str(server.ca_file)

    def ask(self, signature: str, inputs: Arrays) -> Arrays:
        """Outputs by name; see `Transport`."""
        columns = {name: _jsonable(values) for name, values in inputs.items()}
        body = json.dumps({"signature_name": signature, "inputs": columns}).encode()
        if len(body) > self._server.max_message_bytes:
            raise ServerError(
                "RESOURCE_EXHAUSTED",
                f"a request of {len(body)} bytes is above {self._server.max_message_bytes}",
            )
        try:
            answer = self._session.post(
                self._url,
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=self._server.timeout_s,
            )
        except requests.Timeout as error:
            raise ServerError("DEADLINE_EXCEEDED", str(error)) from error
        except requests.RequestException as error:
            raise ServerError("UNAVAILABLE", str(error)) from error
        return _outputs(answer)


def _outputs(answer: requests.Response) -> Arrays:
    try:
        values: Any = answer.json()
    except ValueError as error:
        raise ServerError("UNKNOWN", f"HTTP {answer.status_code} without JSON") from error
    if answer.status_code != HTTPStatus.OK:
        status = _STATUSES.get(HTTPStatus(answer.status_code), f"HTTP {answer.status_code}")
        words = values.get("error", values) if isinstance(values, dict) else values
        raise ServerError(status, str(words))
    if not isinstance(values, dict) or not isinstance(values.get("outputs"), dict):
        raise ServerError("UNKNOWN", "the answer has no outputs by name")
    return {name: np.asarray(column) for name, column in values["outputs"].items()}


def _jsonable(values: np.ndarray) -> Any:
    """Nested lists; bytes as {"b64": ...}."""
    if values.dtype == object:
        return [{"b64": base64.b64encode(value).decode()} for value in values]
    return values.tolist()
