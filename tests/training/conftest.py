"""Worker processes on this machine."""

import json
import socket

import pytest

from tests.programs import Program


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


@pytest.fixture
def start():
    """Starts programs that end with the test: (module, flags, **environment) -> process."""
    processes = []

    def start_one(module, *flags, **environment):
        processes.append(Program(module, *flags, CUDA_VISIBLE_DEVICES="", **environment))
        return processes[-1]

    yield start_one
    for process in processes:
        process.kill()
        process.close()


@pytest.fixture
def start_workers(start):
    """Starts two workers over loopback: (worker number -> module and flags) -> processes."""

    def start_both(arguments_of):
        cluster = {"worker": [f"127.0.0.1:{port}" for port in _free_ports(2)]}
        return [
            start(
                *arguments_of(index),
                TF_CONFIG=json.dumps(
                    {"cluster": cluster, "task": {"type": "worker", "index": index}}
                ),
            )
            for index in range(2)
        ]

    return start_both
