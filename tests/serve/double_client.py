"""Starts the test double, and the programs that talk to it, in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import requests

from clustr_tf.serve.transport import Server
from clustr_tf.serve.transport_grpc import GrpcTransport
from clustr_tf.serve.transport_rest import RestTransport

ROOT = Path(__file__).parents[2]
TRANSPORTS = {"grpc": GrpcTransport, "rest": RestTransport}


class Double:
    """The double in a process of its own, until the block ends; `ports` by protocol."""

    def __init__(self, version):
        self._version = version

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.serve.double", str(self._version), "clustr"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.ports = json.loads(self._process.stdout.readline())
        return self

    def __exit__(self, *_):
        self._process.communicate()
        assert self._process.returncode == 0

    def transport(self, protocol, **more):
        return TRANSPORTS[protocol](Server("127.0.0.1", self.ports[protocol], "clustr", **more))

    def post(self, body, path="/v1/models/clustr:predict"):
        url = f"http://127.0.0.1:{self.ports['rest']}{path}"
        return requests.post(url, data=body, timeout=20)
