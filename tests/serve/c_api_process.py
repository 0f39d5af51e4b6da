"""A process that serves one SavedModel through the C API; a request and an answer are a line each.

    python -m tests.serve.c_api_process models/clustr/1

Request: {"signature": name, "inputs": arrays}; answer: {"outputs": arrays} or {"code": number,
"message": words}. On start it says which signatures there are and, at the end of its input, which
of the modules that it must not need were imported.
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def encode(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Arrays as JSON; strings, object arrays of bytes, one by one."""

    def encoded(array: np.ndarray) -> dict[str, Any]:
        if array.dtype == object:
            data = [base64.b64encode(value).decode() for value in array.reshape(-1)]
        else:
            data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
        return {"dtype": array.dtype.str, "shape": array.shape, "data": data}

    return {name: encoded(array) for name, array in arrays.items()}


def decode(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """The inverse of `encode`."""

    def decoded(array: dict[str, Any]) -> np.ndarray:
        if array["dtype"] == "|O":
            values = np.empty(len(array["data"]), object)
            values[:] = [base64.b64decode(value) for value in array["data"]]
        else:
            values = np.frombuffer(base64.b64decode(array["data"]), array["dtype"])
        return values.reshape(array["shape"])

    return {name: decoded(array) for name, array in arrays.items()}


def main() -> None:
    # Not above: tests use the codec in a process that has TensorFlow.
    from tests.serve.c_api_runner import Runner, RunnerError

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"outputs": encode(runner.run(request["signature"], decode(request["inputs"])))}
        except RunnerError as error:
            return {"code": error.code, "message": error.message}

    runner = Runner(Path(sys.argv[1]))
    print(json.dumps(sorted(runner.signatures)), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
    unwanted = {"tensorflow.python", "keras", "clustr_tf", "export"} & sys.modules.keys()
    print(json.dumps(sorted(unwanted)), flush=True)


if __name__ == "__main__":
    main()
