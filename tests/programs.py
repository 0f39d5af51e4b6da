"""Programs in processes of their own that need not import TensorFlow first, which takes seconds.

They are forked from a server that has. Python has one such server, which keeps what the first test
that used it has asked for: so it is asked for here, once for all tests.
"""

import functools
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[1]


@functools.cache
def context():
    """Starts processes as `multiprocessing` does, with TensorFlow, training and search imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["clustr_tf.training.run", "clustr_tf.tuning.search"])
    with mock.patch.dict(os.environ, PYTHONPATH=str(ROOT)):
        forkserver.ensure_running()
    return context


def run(module, *flags, cwd=ROOT):
    """`python -m module flags`, to its end."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder, "stdout"), Path(folder, "stderr")
        process = context().Process(target=_main, args=(module, flags, cwd, outputs))
        process.start()
        process.join()
        stdout, stderr = (output.read_text() for output in outputs)
    return subprocess.CompletedProcess([module, *flags], process.exitcode, stdout, stderr)


def redirect(descriptor, path):
    """What this process writes there from now on goes to a new file."""
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)


def _main(module, flags, cwd, outputs):
    for descriptor, path in enumerate(outputs, start=1):
        redirect(descriptor, path)
    os.chdir(cwd)
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
