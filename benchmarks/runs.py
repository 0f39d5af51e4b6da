"""Finished training runs, what configs with overrides make, and figures of several seeds."""

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from clustr_tf.attacks import RobustnessEvaluator
from clustr_tf.classifier import Classifier
from clustr_tf.cli.config import (
    Experiment,
    experiment_of,
    read_experiment,
    without_foreign_fields,
)
from clustr_tf.data import Dataset
from clustr_tf.evaluate.attacking import Examples, Memory
from clustr_tf.evaluate.plan import EvaluationPlan
from clustr_tf.evaluate.suite import Target, build_stages
from clustr_tf.run.workdir import Workdir


class FinishedRun(NamedTuple):
    """What a workdir holds."""

    experiment: Experiment
    classifier: Classifier
    dataset: Dataset

    def attacked(
        self, images: np.ndarray, labels: np.ndarray, plan: EvaluationPlan, seed: int, memory: Path
    ) -> Examples:
        """Images of the data under all attacks of `python -m clustr_tf.evaluate`.

        Args:
            images: uint8 `[N, H, W, C]`.
            labels: int64 `[N]`.
            plan: how hard they are attacked.
            seed: of the attacks.
            memory: folder for their results.
        """
        shape = self.classifier.image_shape
        stages = build_stages(Target(self.classifier, shape, self.dataset.num_classes, plan))
        evaluator = RobustnessEvaluator(self.classifier, shape, stages, plan.batch_size)
        return Examples(evaluator, images, labels, seed, Memory(memory, {}))


def read_run(root: str | Path) -> FinishedRun:
    """Reads the workdir of a finished run."""
    workdir = Workdir(Path(root))
    experiment = experiment_of(workdir)
    return FinishedRun(experiment, workdir.load_classifier(), experiment.dataset.load())


def overridden(config: ml_collections.ConfigDict, overrides: Mapping[str, Any]) -> Experiment:
    """What the training command makes of a config and `--config.NAME=VALUE`.

    Args:
        config: gets the values.
        overrides: dotted name -> value.
    """
    config.update_from_flattened_dict(overrides)
    return read_experiment(without_foreign_fields(config.to_dict(), overrides))


def finished_run(workdir: Path, *flags: str) -> dict[str, float]:
    """The summary of a run, which is trained if it has none.

    Args:
        workdir: of the run.
        *flags: further flags of `python -m clustr_tf.train`.

    Returns:
        What summary.json holds.
    """
    summary = workdir / "summary.json"
    if not summary.exists():
        command = [sys.executable, "-m", "clustr_tf.train", f"--workdir={workdir}", *flags]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return read_values(summary)


def measured(workdir: Path, command: str, file: str, examples: int) -> dict[str, Any]:
    """What a command has written about a run, or now writes.

    Args:
        workdir: of the run.
        command: evaluate or certify.
        file: the JSON file that it writes into the workdir.
        examples: test images that it has to be about; not more than there are.

    Returns:
        What the file holds.
    """
    if not (workdir / file).exists() or read_values(workdir / file)["examples"] != examples:
        flags = (f"--workdir={workdir}", f"--examples={examples}")
        command_line = [sys.executable, "-m", f"clustr_tf.{command}", *flags]
        subprocess.run(command_line, check=True, stdout=subprocess.DEVNULL)
    return read_values(workdir / file)


def read_values(file: Path) -> dict[str, Any]:
    """What a JSON file holds."""
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return values


def cell(values: Sequence[float], scale: float, digits: int) -> str:
    """Mean and range of the seeds, as `mean (lowest-highest)`."""
    mean, low, high = statistics.mean(values), min(values), max(values)
    return f"{scale * mean:.{digits}f} ({scale * low:.{digits}f}-{scale * high:.{digits}f})"
