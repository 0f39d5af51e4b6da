"""Keras-tuner's algorithms, with a state that survives being killed."""

import copy
import math
from pathlib import Path
from typing import Any

import keras_tuner

from clustr_tf.files import write_json
from clustr_tf.tuning.settings import SearchConfig


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
    config: SearchConfig, space: keras_tuner.HyperParameters, epochs: int
) -> keras_tuner.Oracle:
    """The algorithm that draws the settings of the trials.

    Args:
        config: which one.
        space: what it draws.
        epochs: of a whole training, for Hyperband.

    Returns:
        The oracle. Failed trials do not end its search.

    Reference:
        Li et al., arXiv 1603.06560 (Hyperband); Snoek et al., arXiv 1206.2944 (Bayesian).
    """
    common = {
        "objective": keras_tuner.Objective(config.objective, "max"),
        "hyperparameters": space,
        "seed": config.seed + 1,  # Keras-tuner takes 0 for no seed
        "allow_new_entries": False,
        "max_consecutive_failed_trials": config.trials + 1,
    }
    if config.algorithm == "random":
        return _Random(max_trials=config.trials, **common)
    if config.algorithm == "bayesian":
        # By default it would draw three trials a field before it learns anything.
        initial = max(3, config.trials // 3)
        return _Bayesian(max_trials=config.trials, num_initial_points=initial, **common)
    oracle = _Hyperband(max_epochs=epochs, factor=config.factor, hyperband_iterations=1, **common)
    oracle.max_trials = config.trials
    return oracle
