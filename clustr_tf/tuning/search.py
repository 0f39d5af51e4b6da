"""A whole search: draw, train, judge; resumable at the trial and, inside it, at the checkpoint."""

import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
import keras_tuner
import keras_tuner.src.config
from filelock import FileLock, Timeout
from keras_tuner.engine.base_tuner import BaseTuner
from rich.console import Console

from clustr_tf.commands import STATUS_TERMINATED
from clustr_tf.errors import InputError, RunError
from clustr_tf.files import write_json
from clustr_tf.sections import section_values
from clustr_tf.tuning.finished import Finished, trial_line
from clustr_tf.tuning.oracles import build_oracle
from clustr_tf.tuning.request import Request, read_request
from clustr_tf.tuning.results import write_results
from clustr_tf.tuning.settings import MEASURES, parse_objective, score
from clustr_tf.tuning.space import drawn_values, hyperparameters, with_values
from clustr_tf.tuning.trials import Outcome, Trials


def run_search(config: Mapping[str, Any], root: Path, max_trials: int | None) -> None:
    """Searches, or goes on with the search of a folder, and writes what came of it.

    With KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT in the environment
    this process is the chief or a worker of a parallel search: Keras-tuner's distributed mode.

    Args:
        config: the resolved config file, with `search`.
        root: folder of the search; that of all workers of a parallel one.
        max_trials: at most so many trials; None for the config's.

    Raises:
        InputError: if a setting is wrong, or the folder holds another search or is in use.
        RunError: if no trial succeeded, the folder cannot be written or the chief is gone.
    """
    request, console = read_request(config, max_trials), Console()
    worker = _is_worker()
    with contextlib.nullcontext() if worker else _claimed(root, request), _sigterm_is_heard():
        search = Search(request, root, console)
        try:
            search.search()
        except keras_tuner.errors.FatalError as error:
            raise RunError(str(error)) from error
        except grpc.RpcError as error:
            raise RunError(
                f"The chief cannot be reached ({error.code().name}): start it again, then this "
                "worker, with the same commands"
            ) from error
        if not worker:
            write_results(root, request, search.finished(), console)


class Search(BaseTuner):
    """Keras-tuner's loop around trials that run in processes of their own.

    Args:
        request: what to search.
        root: its folder.
        console: hears of every trial.
    """

    def __init__(self, request: Request, root: Path, console: Console):
        self._request, self._console = request, console
        self._weights = parse_objective(request.settings.objective)
        self._trials = Trials(root / "trials")
        oracle = build_oracle(
            request.settings, hyperparameters(request.fields), request.experiment.training.epochs
        )
        oracle.verbose = 0
        keras_tuner.src.config.DEBUG = False  # no traceback of a failed trial: we say why
        with contextlib.redirect_stdout(io.StringIO()):  # it says where it reads its state
            super().__init__(oracle=oracle, directory=root, project_name="search")

    def run_trial(self, trial: keras_tuner.engine.trial.Trial) -> dict[str, float]:
        """Trains with the drawn settings.

        Returns:
            The objective and all measures.

        Raises:
            FailedTrialError: if the trial failed; the search goes on.
            FatalError: if the folder cannot be written.
        """
        values, name = self._values(trial), self._request.settings.objective
        try:
            outcome = self._trials.run(trial.trial_id, with_values(self._request.config, values))
        except RunError as error:
            raise keras_tuner.errors.FatalError(str(error)) from error
        finished = self._finished(trial.trial_id, values, outcome)
        self._console.print(trial_line(finished, name), soft_wrap=True, highlight=False)
        if outcome.row is None or finished.score is None:
            raise keras_tuner.errors.FailedTrialError(outcome.error)
        measures = {
            measure: outcome.row[column]
            for measure, column in MEASURES.items()
            if column in outcome.row
        }
        return measures | {name: finished.score}

    def finished(self) -> list[Finished]:
        """The trials that have ended, in the order in which they began."""
        trials = sorted(self.oracle.trials.values(), key=lambda trial: int(trial.trial_id))
        return [
            self._finished(trial.trial_id, self._values(trial), outcome)
            for trial in trials
            if (outcome := self._trials.outcome(trial.trial_id))
        ]

    def _values(self, trial: keras_tuner.engine.trial.Trial) -> dict[str, Any]:
        drawn = trial.hyperparameters.values
        values = drawn_values(self._request.fields, drawn)
        if "tuner/epochs" in drawn:
            # Anew from the first epoch: the schedule of a longer training is another one.
            values["training.epochs"] = drawn["tuner/epochs"]
        return values

    def _finished(self, trial_id: str, values: dict[str, Any], outcome: Outcome) -> Finished:
        found = None if outcome.row is None else score(self._weights, outcome.row)
        return Finished(trial_id, values, found, outcome)

    def on_search_begin(self) -> None:
        self.save()  # before the first trial, which may be killed

    def save(self) -> None:
        if not self._is_worker():
            self.oracle.save()
        write_json(Path(self._get_tuner_fname()), self.get_state())


def _is_worker() -> bool:
    """Of a parallel search; the chief's name has "chief" in it, as Keras-tuner wants."""
    parallel = "KERASTUNER_ORACLE_IP" in os.environ
    for name in ("KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID"):
        if parallel and name not in os.environ:
            raise InputError(f"{name} must be in the environment beside KERASTUNER_ORACLE_IP")
    return parallel and "chief" not in os.environ["KERASTUNER_TUNER_ID"]


@contextlib.contextmanager
def _claimed(root: Path, request: Request) -> Iterator[None]:
    """The folder for this search alone; its settings are written, or are the very same."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock", timeout=0):
            _claim(root / "search.json", request)
            yield
    except Timeout as error:
        raise InputError(f"--workdir={root} is in use: another process searches there") from error


def _claim(path: Path, request: Request) -> None:
    """More trials may be asked for later; everything else has to stay as it was."""
    stated = {
        "search": section_values(request.settings),
        "space": [section_values(field) for field in request.fields],
        "experiment": request.config,
    }
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        before["search"]["trials"] = request.settings.trials
        # As JSON: what was read has lists where the request has tuples.
        if before != json.loads(json.dumps(stated)):
            raise InputError(
                f"{path.parent} holds another search: choose another --workdir, or the same "
                "config to go on (the number of trials may differ)"
            )
    elif (path.parent / "config.json").exists():
        raise InputError(f"{path.parent} holds a training run: choose another --workdir")
    write_json(path, stated)


@contextlib.contextmanager
def _sigterm_is_heard() -> Iterator[None]:
    """SIGTERM ends the search as Ctrl-C does: the trial that is running saves its state first."""

    def leave(number: int, frame: FrameType | None) -> None:
        print("Terminated. The same command resumes where this one stopped.", file=sys.stderr)
        sys.exit(STATUS_TERMINATED)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
