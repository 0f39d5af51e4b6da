"""Trials as they are: processes that train, fail, are killed, and give back their memory."""

import csv
import functools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from unittest import mock

import pytest

from clustr_tf.cli.search import resolved
from clustr_tf.configs import digits_search
from clustr_tf.methods import METHODS
from clustr_tf.tune.trials import Trials
from tests.programs import ROOT, context
from tests.tune.searches import SPACE, config, searched
from tests.tune.trained import trained

pytestmark = pytest.mark.slow


def _trials(root, **sections):
    config = digits_search.get_config().to_dict() | sections
    config.pop("search")
    config["backbone"]["width"] = 4
    config["training"] |= {"epochs": 2, "steps_per_epoch": 3}
    return Trials(root, functools.partial(resolved, config))


def test_a_trial_is_judged_on_held_out_images_and_leaves_test_images_alone(tmp_path):
    outcome = _trials(tmp_path).run("0", {})
    assert outcome.error is None
    assert 0 < outcome.row["validation/accuracy"] <= 1
    with (tmp_path / "0" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert not [name for name in rows[0] if "test" in name]


def test_a_trial_trusts_the_plugins_of_its_search(tmp_path, monkeypatch):
    (tmp_path / "brings_mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from clustr_tf.methods import METHODS, Nominal\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Nominal):\n"
        "    pass\n"
        "METHODS['mine'] = Mine\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    with mock.patch.dict(METHODS), mock.patch.dict(sys.modules):
        trials = _trials(tmp_path, plugins=("brings_mine",), method={"name": "mine"})
        outcome = trials.run("0", {})
    assert outcome.error is None
    assert 0 < outcome.row["validation/accuracy"] <= 1


def test_a_trial_that_diverges_fails_with_the_line_that_it_said(tmp_path):
    outcome = _trials(tmp_path).run("0", {"optimizer.learning_rate": 1e30})
    assert outcome.row is None
    # With such a rate the first step is the last one whose loss is a number.
    assert "NaN or infinite" in outcome.error
    assert _trials(tmp_path).outcome("0") == outcome


def test_a_trial_that_is_killed_fails_with_the_signal(tmp_path):
    def killed(*arguments, **options):
        process = subprocess_popen(*arguments, **options)
        timer = threading.Timer(1.0, os.kill, (process.pid, signal.SIGKILL))
        timer.start()
        return process

    subprocess_popen = subprocess.Popen
    with mock.patch.object(subprocess, "Popen", killed):
        outcome = _trials(tmp_path).run("0", {})
    assert outcome.row is None
    assert outcome.error == "the process was ended by signal 9"
    assert outcome.seconds >= 1.0


def _resident():
    """MiB of this process that lie in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def _search_and_measure(root, leak, found):
    resident, leaked = [], []

    def measured(folder):
        resident.append(_resident())
        leaked.append(os.urandom(leak))
        return trained(folder)

    searched(root, config(trials=12, space={"optimizer": SPACE["optimizer"]}), train=measured)
    found.put(resident)


@pytest.mark.parametrize(("leak", "grows"), [(0, False), (4 * 2**20, True)])
def test_the_memory_of_a_search_does_not_grow_with_its_trials(leak, grows, tmp_path):
    found = context().Queue()
    process = context().Process(target=_search_and_measure, args=(tmp_path, leak, found))
    process.start()
    resident = found.get(timeout=120)
    process.join()
    # From the second trial to the twelfth: ten of them, with less than 2 MiB each.
    assert (resident[11] - resident[1] > 20) == grows, resident
