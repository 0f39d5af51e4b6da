"""Checkpoints: one file an epoch, complete or not there, readable without pickle."""

import json
import logging
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from clustr_tf.clustering import NeighbourhoodSampler
from clustr_tf.files import write_arrays

_KEPT = 2  # the newest, and the one before should the newest be damaged
_logger = logging.getLogger(__name__)


@dataclass
class TrainingState:
    """Everything that the next epoch depends on.

    Attributes:
        variables: of the classifier, the optimiser: name of the group -> Keras variables.
        sampler: owns assignments, example losses and the random draws.
        history: the finished epochs' rows of metrics.csv.
    """

    variables: dict[str, Sequence[keras.Variable]]
    sampler: NeighbourhoodSampler
    history: list[dict[str, float]]

    @property
    def epoch(self) -> int:
        """How many epochs are finished."""
        return len(self.history)


def save_checkpoint(folder: Path, state: TrainingState) -> Path:
    """Writes the state after its last finished epoch and drops all but the newest checkpoints.

    Args:
        folder: where checkpoints lie.
        state: what to save.

    Returns:
        The file, `epoch-NNNN.npz`.
    """
    arrays = {f"sampler/{key}": value for key, value in state.sampler.state().items()}
    arrays["history"] = np.array(json.dumps(state.history))
    for group, variables in state.variables.items():
        for index, variable in enumerate(variables):
            arrays[_key(group, index)] = keras.ops.convert_to_numpy(variable)
    path = folder / f"epoch-{state.epoch:04d}.npz"
    write_arrays(path, arrays)
    for old in _newest_first(folder)[_KEPT:]:
        old.unlink()
    return path


def restore_checkpoint(folder: Path, state: TrainingState) -> bool:
    """Restores the newest readable checkpoint; warns of every damaged one it passes over.

    Args:
        folder: where checkpoints lie; it need not exist.
        state: overwritten with the checkpoint.

    Returns:
        Whether there was one.
    """
    for path in _newest_first(folder):
        try:
            arrays = _read(path)
        except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
            _logger.warning("%s is damaged (%s); the checkpoint before is used", path, error)
            continue
        _restore(arrays, state)
        return True
    return False


def _key(group: str, index: int) -> str:
    return f"{group}/{index:04d}"


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.npz"), reverse=True)


def _read(path: Path) -> dict[str, np.ndarray]:
    """Reads every array, which checks the archive's checksums."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return dict(archive)


def _restore(arrays: dict[str, Any], state: TrainingState) -> None:
    for group, variables in state.variables.items():
        for index, variable in enumerate(variables):
            variable.assign(arrays[_key(group, index)])
    prefix = "sampler/"
    state.sampler.restore(
        {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
    )
    state.history[:] = json.loads(str(arrays["history"]))
