"""A small search over a formula, and what it leaves."""

import csv
import itertools
import os
import signal
from unittest import mock

from clustr_tf.cli.search import read_search
from clustr_tf.configs import digits_search
from clustr_tf.tune import search, trials
from clustr_tf.tune.search import run_search
from tests.tune.trained import trained

SPACE = {
    "optimizer": {"learning_rate": {"low": 1e-5, "high": 1e-1, "sampling": "log"}},
    "backbone": {"width": {"choices": (4, 7, 16)}},
}


def config(epochs=9, space=SPACE, **settings):
    """A config with a `search` section."""
    values = digits_search.get_config().to_dict()
    values["training"]["epochs"] = epochs
    values["search"] = {
        "algorithm": "random",
        "objective": "val_pgd_accuracy",
        "trials": 8,
        "space": space,
        **settings,
    }
    return values


def searched(root, values, max_trials=None, train=trained):
    """Searches with trials that are a formula; gives the rows of trials.csv."""
    with mock.patch.object(trials, "_trained", train):
        run_search(read_search(values, max_trials), root)
    return rows(root)


def rows(root):
    """The rows of trials.csv."""
    with (root / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def search_until_write(root, values, call):
    """A search that is killed by SIGKILL just before it writes its state for so many times."""
    calls = itertools.count(1)

    def killing(write):
        def wrapper(*arguments):
            if next(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return write(*arguments)

        return wrapper

    with (
        mock.patch.object(search, "write_json", killing(search.write_json)),
        mock.patch.object(trials, "write_json", killing(trials.write_json)),
    ):
        searched(root, values)


def take_part(root, values, environment, barrier):
    """Chief or worker of a parallel search; every worker is in a trial before any trial ends."""
    os.environ.update(environment)
    met = []

    def together(folder):
        if not met:
            met.append(barrier.wait(60))
        (folder / "worker").write_text(environment["KERASTUNER_TUNER_ID"])
        return trained(folder)

    with mock.patch.object(trials, "_trained", together):
        run_search(read_search(values), root)
