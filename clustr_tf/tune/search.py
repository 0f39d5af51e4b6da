"""A whole search: draw, train, judge; resumable at the trial and, inside it, at the checkpoint."""

import contextlib
import copy
import io
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
import keras_tuner
import keras_tuner.src.config
from keras_tuner.engine.base_tuner import BaseTuner
from rich.console import Console

from clustr_tf.run.errors import InputError, RunError
from clustr_tf.run.files import claimed, write_json
from clustr_tf.run.interruption import Interruption
from clustr_tf.run.workdir import Workdir
from clustr_tf.tune.request import MEASURES, Request, SearchSettings, parse_objective, score
from clustr_tf.tune.results import write_results, write_table
from clustr_tf.tune.space import drawn_values, hyperparameters
from clustr_tf.tune.trials import Finished, Outcome, Trials, trial_line


class _Durable(keras_tuner.Oracle):
    """Writes its state whole or not at all, and takes up every trial that was begun.

    Keras-tuner writes its files in place and one after the other: killed in between, it would
    read half a file, or leave a trial running for ever.
    """

    def save(self) -> None:
        write_json(Path(self._get_oracle_fname()), self.get_state())

    def _save_trial(self, trial: Any) -> None:
        folder = Path(self._get_trial_dir(trial.trial_id))
        write_json(folder / "trial.json", trial.get_state())

    def reload(self) -> None:
        super().reload()
        for trial in self.trials.values():
            if trial.status == "RUNNING" and trial.trial_id not in self._retry_queue:
                self._retry_queue.append(trial.trial_id)


class _Random(_Durable, keras_tuner.oracles.RandomSearchOracle):
    pass


class _Bayesian(_Durable, keras_tuner.oracles.BayesianOptimizationOracle):
    pass


class _Hyperband(_Durable, keras_tuner.oracles.HyperbandOracle):
    """Takes failed trials for the worst of their round.

    Keras-tuner lets none go on before so many have succeeded as the round has losers: with a few
    failures it would end after the first, short trainings.
    """

    trials: dict[str, Any]

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        for bracket in self._brackets:
            self._pass_over_failed(bracket)
        trials = self.trials
        self.trials = {name: _judged(trial) for name, trial in trials.items()}
        try:
            values: dict[str, Any] = super().populate_space(trial_id)
        finally:
            self.trials = trials
        return values

    def _pass_over_failed(self, bracket: dict[str, Any]) -> None:
        """Where only failed trials are left to go on, they fill the next round as they are."""
        number, rounds = bracket["bracket_num"], bracket["rounds"]
        for index in range(1, len(rounds)):
            losers = self._get_size(number, index - 1) - self._get_size(number, index)
            selected = {entry["past_id"] for entry in rounds[index]}
            left = [entry["id"] for entry in rounds[index - 1] if entry["id"] not in selected]
            ended = [name for name in left if self.trials[name].status in ("COMPLETED", "FAILED")]
            if all(self.trials[name].status == "FAILED" for name in ended):
                for name in ended[losers:]:
                    rounds[index].append({"past_id": name, "id": name})


def _judged(trial: Any) -> Any:
    """A failed trial as one that has succeeded, though worse than all others."""
    if trial.status != "FAILED":
        return trial
    judged = copy.copy(trial)
    judged.status, judged.score = "COMPLETED", -math.inf
    return judged


def build_oracle(
    settings: SearchSettings, space: keras_tuner.HyperParameters, epochs: int
) -> keras_tuner.Oracle:
    """The algorithm that draws the settings of the trials.

    Args:
        settings: which one.
        space: what it draws.
        epochs: of a whole training, for Hyperband.

    Returns:
        The oracle. Failed trials do not end its search.

    Reference:
        Li et al., arXiv 1603.06560 (Hyperband); Snoek et al., arXiv 1206.2944 (Bayesian).
    """
    common = {
        "objective": keras_tuner.Objective(settings.objective, "max"),
        "hyperparameters": space,
        "seed": settings.seed + 1,  # Keras-tuner takes 0 for no seed
        "allow_new_entries": False,
        "max_consecutive_failed_trials": settings.trials + 1,
    }
    if settings.algorithm == "random":
        return _Random(max_trials=settings.trials, **common)
    if settings.algorithm == "bayesian":
        # By default it would draw three trials a field before it learns anything.
        initial = max(3, settings.trials // 3)
        return _Bayesian(max_trials=settings.trials, num_initial_points=initial, **common)
    oracle = _Hyperband(max_epochs=epochs, factor=settings.factor, hyperband_iterations=1, **common)
    oracle.max_trials = settings.trials
    return oracle


_STATED = "search.json"


def run_search(request: Request, root: Path) -> None:
    """Searches, or goes on with the search of a folder, and writes what came of it.

    With KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT in the environment
    this process is the chief or a worker of a parallel search: Keras-tuner's distributed mode.

    Args:
        request: what to search, and how.
        root: folder of the search; that of all workers of a parallel one.

    Raises:
        InputError: if the folder holds another search or a training run, or is in use.
        RunError: if no trial succeeded, the folder cannot be written or the chief is gone.
        KeyboardInterrupt, TerminatedError: after Ctrl-C and SIGTERM; the running trial has saved
            its state, and trials.csv has those that have ended.

    Example:
        >>> config = digits_search.get_config().to_dict()
        >>> run_search(clustr_tf.cli.search.read_search(config), Path("runs/search"))
    """
    console = Console()
    if _is_worker():
        with Interruption(at_once=True):
            _run(Search(request, root, console))
        return
    with (
        _claimed(root, request),
        Interruption(at_once=True),
        Workdir(root).writing(),
    ):
        search = Search(request, root, console)
        try:
            _run(search)
        finally:
            finished = search.finished()
            write_table(root / "trials.csv", finished)
        write_results(root, request, finished, console)
        search.say_if_over()


@contextlib.contextmanager
def _claimed(root: Path, request: Request) -> Iterator[None]:
    """The folder for this search alone; search.json says which one it holds."""
    with claimed(root, "searching"):
        if (root / _STATED).exists():
            _check_same(root, request)
        elif Workdir(root).config.exists():
            raise InputError(f"{root} holds a training run: choose another --workdir")
        with Workdir(root).writing():
            write_json(root / _STATED, _stated(request))
        yield


def _check_same(root: Path, request: Request) -> None:
    """Refuses a folder of another search; only the number of trials may differ."""
    if not (root / _STATED).exists():
        raise InputError(f"{root} holds no search: a worker needs the --workdir of its chief")
    before = json.loads((root / _STATED).read_text(encoding="utf-8"))
    before["search"]["trials"] = request.settings.trials
    # As JSON: what was read has lists where the request has tuples.
    if before != json.loads(json.dumps(_stated(request))):
        raise InputError(
            f"{root} holds another search: choose another --workdir, or the same config to go on "
            "(the number of trials may differ)"
        )


def _stated(request: Request) -> dict[str, Any]:
    return {
        "search": asdict(request.settings),
        "space": [asdict(field) for field in request.fields],
        "experiment": request.config,
    }


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
        self._trials = Trials(root / "trials", request.resolved)
        oracle = build_oracle(
            request.settings, hyperparameters(request.fields), request.base["training"]["epochs"]
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
            outcome = self._trials.run(trial.trial_id, values)
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
            _check_same(self._root, self._request)
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
