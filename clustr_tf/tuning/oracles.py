"""Keras-tuner's algorithms, with a state that survives being killed."""

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
    pass


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
