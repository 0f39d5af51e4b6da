"""A whole search: draw, train, judge; resumable at the trial and, inside it, at the checkpoint."""

import contextlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import keras_tuner
import keras_tuner.src.config
from keras_tuner.engine.base_tuner import BaseTuner
from rich.console import Console

from clustr_tf.errors import InputError, RunError
from clustr_tf.files import write_json
from clustr_tf.training.interruption import Interruption
from clustr_tf.tuning.finished import Finished, trial_line
from clustr_tf.tuning.folder import check_same, claimed_search
from clustr_tf.tuning.oracles import build_oracle
from clustr_tf.tuning.request import Request, read_request
from clustr_tf.tuning.results import write_results, write_table
from clustr_tf.tuning.settings import MEASURES, parse_objective, score
from clustr_tf.tuning.space import drawn_values, hyperparameters, with_values
from clustr_tf.tuning.trials import Outcome, Trials
from clustr_tf.workdir import Workdir


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
        KeyboardInterrupt, TerminatedError: after Ctrl-C and SIGTERM; the running trial has saved
            its state, and trials.csv has those that have ended.
    """
    request, console = read_request(config, max_trials), Console()
    if _is_worker():
        with Interruption(at_once=True):
            _run(Search(request, root, console))
        return
    with (
        claimed_search(root, request),
        Interruption(at_once=True),
        Workdir(root).writing(),
    ):
        search = Search(request, root, console)
        try:
            _run(search)
        finally:
            write_table(root / "trials.csv", search.finished())
        write_results(root, request, search.finished(), console)
        search.say_if_over()


def _run(search: "Search") -> None:
    try:
        search.search()
    except keras_tuner.errors.FatalError as error:
        raise RunError(str(error)) from error
    except grpc.RpcError as error:
        raise RunError(
            f"The chief cannot be reached ({error.code().name}): start it again, then this "
            "worker, with the same commands"
        ) from error


class Search(BaseTuner):
    """Keras-tuner's loop around trials that run in processes of their own.

    Args:
        request: what to search.
        root: its folder.
        console: hears of every trial.
    """

    def __init__(self, request: Request, root: Path, console: Console):
        self._request, self._root, self._console = request, root, console
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

    def say_if_over(self) -> None:
        """Tells whoever wanted more trials that there will be none."""
        begun, asked = len(self.oracle.trials), self._request.settings.trials
        if begun < asked:
            rounds = self._request.settings.algorithm == "hyperband"
            reason = "Hyperband's rounds are complete" if rounds else "no other settings are left"
            self._console.print(
                f"The search is over after {begun} of at most {asked} trials, as {reason}: a "
                "larger --max_trials adds none.",
                highlight=False,
                soft_wrap=True,
            )

    def on_search_begin(self) -> None:
        if self._is_worker():
            # Only when the chief answers is the folder known to have its settings.
            self.oracle.get_best_trials(0)
            check_same(self._root, self._request)
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
