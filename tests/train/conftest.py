"""Worker processes on this machine."""

import contextlib
import json
import os
import socket
import subprocess
import sys

import pytest

from tests.programs import ROOT, Program


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
    """Starts programs that end with the test: (module, flags, **environment) -> process.

    They are forked, or start and end as those of a user do.
    """
    with contextlib.ExitStack() as processes:

        def start_one(module, *flags, forked=True, **environment):
            environment["CUDA_VISIBLE_DEVICES"] = ""
            if forked:
                program = Program(module, *flags, **environment)
                return processes.enter_context(contextlib.closing(program))
            process = processes.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", module, *flags],
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            processes.callback(process.kill)
            return process

        yield start_one


@pytest.fixture
def start_workers(start):
    """Starts two workers over loopback: (worker number -> module and flags) -> processes."""

    def start_both(arguments_of, forked=True):
        cluster = {"worker": [f"127.0.0.1:{port}" for port in _free_ports(2)]}
        return [
            start(
                *arguments_of(index),
                forked=forked,
                TF_CONFIG=json.dumps(
                    {"cluster": cluster, "task": {"type": "worker", "index": index}}
                ),
            )
            for index in range(2)
        ]

    return start_both
