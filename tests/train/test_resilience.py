"""No work is lost: killed, damaged, out of disk or signalled, a run ends as if nothing happened.

Sessions are forked from a server that has imported TensorFlow, so that each takes two seconds.
`benchmarks/kill_and_resume.py` does the same to a whole run and to processes of its own.
"""

import itertools
import os
import pkgutil
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from unittest import mock

import numpy as np
import pytest

from clustr_tf.run.workdir import Workdir
from clustr_tf.train.checkpoints import read_arrays
from tests.programs import ROOT, context, redirect

LAST = "epoch-0003-step-000000.npz"
AFTER_TRAINING = "clustr_tf.evaluate.run.evaluate_briefly"
FLAGS = (
    f"--config={ROOT}/configs/digits.py:plain",
    "--config.training.deterministic=True",
    "--config.training.epochs=3",
    "--config.training.steps_per_epoch=4",
    "--config.training.checkpoint_minutes=1e-6",  # saves after every step
    "--config.backbone.width=4",
    "--config.dataset.validation_examples=0",
    "--config.evaluation.examples=60",
)


def _signals_itself(target, call, number):
    """A patch of `target` that sends this process a signal when it is called so often."""
    owner, name = target.rsplit(".", 1)
    original, calls = getattr(pkgutil.resolve_name(owner), name), itertools.count(1)

    def wrapper(*arguments, **named):
        if next(calls) == call:
            os.kill(os.getpid(), number)
        return original(*arguments, **named)

    return mock.patch(target, wrapper)


def _command(arguments, log, interruption, largest_file):
    """The command as its entry point runs it; in a process of its own."""
    for descriptor, path in [(1, os.devnull), (2, log)]:
        redirect(descriptor, path)
    sys.argv = ["clustr-train", *arguments]
    if largest_file:
        # Python ignores SIGXFSZ: a larger file is an OSError, like a full disk or a quota.
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    with _signals_itself(*interruption) if interruption else nullcontext():
        from clustr_tf.train.__main__ import cli

        cli()


class Run:
    """A workdir and the sessions that train in it."""

    def __init__(self, root, *flags):
        self.root = root
        self.flags = [f"--workdir={root}", *FLAGS, *flags]
        self.log = root.with_suffix(".log")

    def start(self, *flags, interruption=None, largest_file=None):
        arguments = [*self.flags, *flags], self.log, interruption, largest_file
        process = context().Process(target=_command, args=arguments)
        process.start()
        return process

    def session(self, *flags, **how):
        """Exit status, as of `subprocess`, and lines on stderr of a session."""
        process = self.start(*flags, **how)
        process.join()
        return process.exitcode, self.log.read_text().splitlines()

    def train(self):
        """A session that is killed when everything but the evaluation is done."""
        status, lines = self.session(interruption=(AFTER_TRAINING, 1, signal.SIGKILL))
        assert status == -signal.SIGKILL, lines
        return lines

    @property
    def checkpoints(self):
        return sorted(path.name for path in (self.root / "checkpoints").glob("*"))

    def result(self):
        """Everything that has to be equal, as bytes."""
        workdir = Workdir(self.root)
        state = read_arrays(workdir.checkpoints / LAST)
        weights = [weight.tobytes() for weight in workdir.load_classifier().get_weights()]
        saved = {name: (array.dtype, array.tobytes()) for name, array in state.items()}
        return workdir.metrics.read_text(), saved, weights


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """An uninterrupted run."""
    run = Run(tmp_path_factory.mktemp("straight") / "run")
    status, lines = run.session()
    assert status == 0, lines
    assert [row.split(",")[0] for row in run.result()[0].splitlines()] == ["epoch", "1", "2", "3"]
    return run


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


def _kill_at_random(run, random):
    """While starting, or some checkpoints and a moment after the newest of the session before."""
    process, seen = run.start(), set(run.checkpoints)
    wanted = len(seen) + random.integers(0, 4)
    while process.exitcode is None and len(seen) < wanted:
        process.join(0.001)
        seen.update(name for name in run.checkpoints if name.startswith("epoch"))
    process.join(random.uniform(0, 0.03))
    process.kill()
    process.join()


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--config.method.name=clustr_free", "--config.dataset.augmentation=crop_and_flip"),
        ("--config.method.name=pgd_at", "--config.dataset.augmentation=crop_and_flip"),
        ("--config.method.name=clustr_ibp",),
    ],
    ids=["clustr", "free", "dense", "ibp"],
)
def test_killed_at_random_moments_it_ends_as_an_uninterrupted_run(flags, straight, tmp_path):
    run, reference = Run(tmp_path / "run", *flags), straight
    if flags:
        reference = Run(tmp_path / "straight", *flags)
        reference.train()
    random = np.random.default_rng(7)
    for _ in range(2 if flags else 4):
        _kill_at_random(run, random)
    assert run.train() == []
    assert run.result() == reference.result()


@pytest.mark.slow
def test_killed_between_any_two_writes_it_ends_as_an_uninterrupted_run(run, straight):
    for target, call, newest in [
        # In the second step, with the first one saved.
        ("clustr_tf.train.sources.ArraySource.remember", 2, "epoch-0000-step-000001.npz"),
        # While a checkpoint is being written, before it gets its name, before older ones go.
        ("numpy.lib.format.write_array", 20, "epoch-0000-step-000001.npz"),
        ("pathlib.Path.replace", 1, "epoch-0000-step-000001.npz"),
        ("pathlib.Path.unlink", 2, "epoch-0000-step-000002.npz"),
        # An epoch's checkpoint is there, metrics.csv or TensorBoard do not know of it.
        ("clustr_tf.train.callbacks.record.write_metrics", 1, "epoch-0001-step-000000.npz"),
        (
            "clustr_tf.train.callbacks.record.TensorBoard.log_epoch",
            2,
            "epoch-0002-step-000000.npz",
        ),
        # After the last epoch: model.keras is written, but has not got its name.
        ("clustr_tf.run.files.os.fsync", 8, LAST),
    ]:
        status, lines = run.session(interruption=(target, call, signal.SIGKILL))
        assert (status, lines) == (-signal.SIGKILL, []), target
        finished = [name for name in run.checkpoints if name.startswith("epoch")]
        assert finished[-1] == newest, target
    assert not Workdir(run.root).model.exists()
    status, lines = run.session()
    assert status == 0, lines
    assert run.result() == straight.result()
    assert run.checkpoints == straight.checkpoints
    names = [{path.name for path in each.root.iterdir()} for each in (run, straight)]
    assert names[0] == names[1]


@pytest.fixture
def copy(straight, tmp_path):
    """The uninterrupted run before its model was written."""
    shutil.copytree(straight.root, tmp_path / "copy")
    Workdir(tmp_path / "copy").model.unlink()
    return Run(tmp_path / "copy")


def _damage(path):
    content = bytearray(path.read_bytes())
    # The first array's data begin after the zip and the npy header.
    content[content.index(b"\x93NUMPY") + 130] ^= 1
    path.write_bytes(content)


def test_after_a_damaged_checkpoint_it_ends_as_an_uninterrupted_run(copy, straight):
    _damage(copy.root / "checkpoints" / LAST)
    (warning,) = copy.train()
    assert f"{LAST} (wrong checksum of" in warning
    assert "epoch-0002-step-000004.npz is used instead" in warning
    assert copy.result() == straight.result()


def test_with_every_checkpoint_damaged_it_refuses_to_start_anew(copy):
    folder = copy.root / "checkpoints"
    for name in copy.checkpoints:
        _damage(folder / name)
    before = [(folder / name).read_bytes() for name in copy.checkpoints]
    status, (line,) = copy.session()
    assert status == 1
    assert line.startswith(f"error: Every checkpoint in {folder} is damaged: {LAST}")
    assert [(folder / name).read_bytes() for name in copy.checkpoints] == before


@pytest.mark.slow
def test_out_of_disk_it_keeps_what_it_has_and_resumes_with_room(run, straight):
    def saved():
        return {path.name: path.read_bytes() for path in (run.root / "checkpoints").iterdir()}

    run.session(interruption=("clustr_tf.train.callbacks.record.write_metrics", 1, signal.SIGKILL))
    before = saved()
    size = len(before["epoch-0001-step-000000.npz"])
    # Room for everything but a checkpoint; not even for TensorBoard's hyper-parameters.
    for room in (size - 1000, 1000):
        status, (line,) = run.session(largest_file=room)
        assert status == 1
        assert line.startswith(f"error: {run.root} cannot be written: ")
        assert "File too large. What was saved before is intact: make room" in line
        assert saved() == before
    # Trained, but no room for the model.
    run.session(interruption=("clustr_tf.run.workdir.Workdir.save_classifier", 1, signal.SIGKILL))
    status, (line,) = run.session(largest_file=10_000)
    assert (status, Workdir(run.root).model.exists()) == (1, False)
    assert "File too large. What was saved before is intact" in line
    assert run.train() == []
    assert run.result() == straight.result()


def test_a_second_process_and_another_config_are_refused(run):
    first = run.start()
    while not run.checkpoints:
        first.join(0.001)
    os.kill(first.pid, signal.SIGSTOP)
    before = Workdir(run.root).config.read_bytes()
    status, (line,) = run.session()
    assert status == 2
    assert line == f"error: --workdir={run.root} is in use: another process is training there"
    first.kill()
    first.join()
    status, (line,) = run.session(
        "--config.training.epochs=2", "--config.optimizer.schedule.decay=0.5"
    )
    assert status == 2
    assert "these fields differ: optimizer.schedule.decay, training.epochs. Choose another" in line
    assert Workdir(run.root).config.read_bytes() == before


@pytest.mark.slow
def test_asked_to_leave_it_saves_first_and_resumes_as_an_uninterrupted_run(tmp_path, straight):
    """The state is saved for the signal's sake: the next save in time is ten minutes away."""
    run = Run(tmp_path / "run", "--config.training.checkpoint_minutes=10")
    step = "clustr_tf.train.sources.ArraySource.remember"
    save = "clustr_tf.run.workdir.Workdir.save_classifier"
    terminated = (143, ["Terminated. The same command resumes where this one stopped."])
    interrupted = (130, ["Interrupted. The same command resumes or starts anew."])
    start = "clustr_tf.train.callbacks.refresh.cluster_by_class"
    for target, call, number, outcome, newest in [
        (start, 1, signal.SIGTERM, terminated, "epoch-0000-step-000001.npz"),
        (step, 2, signal.SIGINT, interrupted, "epoch-0000-step-000003.npz"),
        (step, 3, signal.SIGTERM, terminated, "epoch-0001-step-000002.npz"),
        (save, 1, signal.SIGTERM, terminated, LAST),
    ]:
        assert run.session(interruption=(target, call, number)) == outcome
        assert run.checkpoints[-1] == newest
    assert run.result() == straight.result()


@pytest.mark.parametrize(
    ("number", "status", "lines"),
    [
        # The system ends it at once; shells report 143.
        (signal.SIGTERM, -signal.SIGTERM, []),
        (signal.SIGINT, 130, ["Interrupted. The same command resumes or starts anew."]),
    ],
)
def test_a_signal_while_tensorflow_is_imported_ends_the_program(tmp_path, number, status, lines):
    """A stand-in for TensorFlow and Keras sends it, and is not done before it arrives."""
    for package in ("tensorflow", "keras"):
        (tmp_path / package).mkdir()
        source = f"import os\nos.kill(os.getpid(), {int(number)})\nfor _ in range(10**8): pass\n"
        (tmp_path / package / "__init__.py").write_text(source)
    finished = subprocess.run(
        [sys.executable, "-m", "clustr_tf.train", f"--workdir={tmp_path / 'run'}"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (finished.returncode, finished.stderr.splitlines()) == (status, lines)
    assert not (tmp_path / "run").exists()
