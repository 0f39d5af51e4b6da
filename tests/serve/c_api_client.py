"""Asks a process that serves a SavedModel through the C API alone."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.serve.c_api_process import decode, encode

ROOT = Path(__file__).parents[2]


class RefusedError(Exception):
    """What the process answered instead of outputs; `code` is TensorFlow's number."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


class CApiProcess:
    """Loads a SavedModel in a process of its own, until the block ends.

    Attributes:
        signatures: their names.
        unwanted: after the block, what was imported there and should not have been.
    """

    def __init__(self, folder):
        self._command = [sys.executable, "-m", "tests.serve.c_api_process", str(folder)]

    def __enter__(self):
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.signatures = self._read()
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self.unwanted = self._read()
        self._process.stdout.close()
        self._process.wait()

    def ask(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        request = {"signature": signature, "inputs": encode(inputs)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        if "code" in answer:
            raise RefusedError(answer["code"], answer["message"])
        return decode(answer["outputs"])

    def peak_memory(self):
        """The largest number of bytes in memory since the last call; Linux counts pages."""
        folder = Path("/proc") / str(self._process.pid)
        peak = (folder / "status").read_text().split("VmHWM:")[1].split()[0]
        (folder / "clear_refs").write_text("5")
        return 1024 * int(peak)

    def _read(self):
        line = self._process.stdout.readline()
        assert line, f"the process ended with status {self._process.wait()}"
        return json.loads(line)
