"""Programs in processes of their own that need not import TensorFlow first, which takes seconds.

They are forked from a server that has. Python has one such server, which keeps what the first test
that used it has asked for: so it is asked for here, once for all tests.
"""

import contextlib
import functools
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[1]


@functools.cache
def context():
    """Starts processes as `multiprocessing` does, with TensorFlow, training and search imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["clustr_tf.train.run", "clustr_tf.tune.search"])
    with mock.patch.dict(os.environ, PYTHONPATH=str(ROOT)):
        forkserver.ensure_running()
    return context


class Program:
    """`python -m module flags` while it runs, as `subprocess.Popen`.

    It is the first of a process group, in which is whatever it starts.
    """

    def __init__(self, module, *flags, cwd=ROOT, **environment):
        self._stderr = tempfile.NamedTemporaryFile("r")  # noqa: SIM115, see close
        reader, writer = context().Pipe(duplex=False)
        with reader, writer:
            arguments = (module, [str(flag) for flag in flags], cwd, environment)
            outputs = (writer, self._stderr.name)
            self._process = context().Process(target=_main, args=(*arguments, *outputs))
            self._process.start()
            self.stdout = os.fdopen(os.dup(reader.fileno()))

    @property
    def pid(self):
        return self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self):
        """The program alone."""
        self._process.kill()

    def kill_group(self):
        """The program and whatever it has started."""
        self.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def communicate(self, timeout=600):
        """The rest of its stdout and its stderr, when it has ended; it is killed if late."""
        late = threading.Timer(timeout, self.kill_group)
        late.daemon = True
        late.start()
        try:
            stdout = self.stdout.read()
            self._process.join()
            return stdout, self._stderr.read()
        finally:
            late.cancel()
            self.close()

    def close(self):
        """Ends it, if it has not ended; what it said is gone."""
        self.kill()
        self.stdout.close()
        self._stderr.close()
        self._process.join()


def run(module, *flags, cwd=ROOT):
    """`python -m module flags`, to its end."""
    program = Program(module, *flags, cwd=cwd)
    stdout, stderr = program.communicate()
    return subprocess.CompletedProcess([module, *flags], program.returncode, stdout, stderr)


def redirect(descriptor, path):
    """What this process writes there from now on goes to a new file."""
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)


def _main(module, flags, cwd, environment, stdout, stderr):
    os.setsid()
    os.dup2(stdout.fileno(), 1)
    stdout.close()
    redirect(2, stderr)
    sys.stdout.reconfigure(line_buffering=True)  # its lines are waited for
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path.insert(0, str(cwd))  # as `python -m` does
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
