"""Checkpoints: complete or not there, checked, readable without pickle."""

import io
import json
import logging
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from clustr_tf.run.errors import RunError
from clustr_tf.run.files import write_arrays
from clustr_tf.train.sources import Draw, Source

_PROMISED_ENTRIES = -12  # a zip file without comment tells there how many entries it has
_logger = logging.getLogger(__name__)


@dataclass
class EpochProgress:
    """The epoch that is under way.

    Attributes:
        step: how many of its steps are done.
        sums: name of a loss part -> its sum over these steps.
        images: trained on in these steps.
        seconds: spent on them, by all sessions of the run.
        pending: the draws for the next step, one for each replica, where they are made already.
    """

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    images: int = 0
    seconds: float = 0.0
    pending: list[Draw] = field(default_factory=list)


@dataclass
class TrainingState:
    """Everything that the next step depends on.

    Attributes:
        variables: of the classifier, the optimiser: name of the group -> Keras variables.
        source: owns assignments, example losses and the random draws.
        history: the finished epochs' rows of metrics.csv.
        progress: of the epoch under way.
        perturbation: of free training, `[replicas * batch, H, W, C]`; else `[0, H, W, C]`.
        data: checksum of the training data, which assignments and losses belong to.
        resumed: whether it was restored from a checkpoint.
    """

    variables: dict[str, Sequence[keras.Variable]]
    source: Source
    history: list[dict[str, float]]
    progress: EpochProgress
    perturbation: np.ndarray
    data: int = 0
    resumed: bool = False

    @property
    def epoch(self) -> int:
        """How many epochs are finished."""
        return len(self.history)

    @property
    def name(self) -> str:
        """Its checkpoint, `epoch-EEEE-step-SSSSSS.npz`: finished epochs, steps of the next one."""
        return f"epoch-{self.epoch:04d}-step-{self.progress.step:06d}.npz"

    def arrays(self) -> dict[str, np.ndarray]:
        """The state as arrays that need no pickle."""
        progress = self.progress
        counts = {
            "step": progress.step,
            "sums": progress.sums,
            "images": progress.images,
            "seconds": progress.seconds,
            "draws": len(progress.pending),
        }
        arrays = {
            "history": np.array(json.dumps(self.history)),
            "progress": np.array(json.dumps(counts)),
            "perturbation": self.perturbation,
            "data": np.array(self.data),
        }
        for index, (indices, targets) in enumerate(progress.pending):
            arrays[f"draws/{index}/indices"], arrays[f"draws/{index}/targets"] = indices, targets
        arrays.update({f"batches/{name}": value for name, value in self.source.state().items()})
        return {**arrays, **variable_arrays(self.variables)}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continues exactly where `arrays()` was taken."""
        assign(self.variables, arrays)
        prefix = "batches/"
        self.source.restore(
            {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
        )
        self.history[:] = json.loads(str(arrays["history"]))
        counts = json.loads(str(arrays["progress"]))
        pending = [
            (arrays[f"draws/{index}/indices"], arrays[f"draws/{index}/targets"])
            for index in range(counts.pop("draws"))
        ]
        self.progress = EpochProgress(**counts, pending=pending)
        self.perturbation = arrays["perturbation"]
        self.resumed = True

    def fit_to(self, replicas: int, batch: int) -> None:
        """Goes on with another number of replicas than before; says so, as nothing is then exact.

        Args:
            replicas: how many there are now.
            batch: the largest batch of one.
        """
        rows = replicas * batch if len(self.perturbation) else 0
        fits = len(self.progress.pending) in (0, replicas) and len(self.perturbation) == rows
        if not fits:
            _logger.warning("resuming on another number of replicas (%d) than before", replicas)
            self.progress.pending = []
            self.perturbation = np.resize(self.perturbation, (rows, *self.perturbation.shape[1:]))


def save_checkpoint(folder: Path, state: TrainingState) -> Path:
    """Writes the state and keeps one checkpoint besides, should the new one be damaged later.

    Args:
        folder: where checkpoints lie.
        state: what to save.

    Returns:
        The file.

    Raises:
        OSError: if it cannot be written; the checkpoints before stay.
    """
    for left_by_a_killed_process in folder.glob(".epoch-*.npz"):
        left_by_a_killed_process.unlink()
    path = folder / state.name
    write_arrays(path, state.arrays())
    others = [other for other in _newest_first(folder) if other != path]
    for other in others[1:]:
        other.unlink()
    return path


def read_checkpoint(folder: Path) -> dict[str, np.ndarray] | None:
    """Reads the newest intact checkpoint; warns if it has to pass over damaged ones.

    Those are renamed: they must not count as the one that `save_checkpoint` keeps besides.

    Args:
        folder: where checkpoints lie; it need not exist.

    Returns:
        What `TrainingState.restore` takes; None if there is no checkpoint.

    Raises:
        RunError: if there are checkpoints and all are damaged: to start anew unasked would
            overwrite what may still be rescued.
    """
    damaged: dict[Path, str] = {}
    for path in _newest_first(folder):
        try:
            arrays = read_arrays(path)
        except ValueError as error:
            damaged[path] = f"{path.name} ({error})"
            continue
        if damaged:
            _logger.warning(
                "damaged in %s, renamed to damaged-*: %s; %s is used instead",
                folder,
                ", ".join(damaged.values()),
                path.name,
            )
        for other in damaged:
            other.rename(other.with_name(f"damaged-{other.name}"))
        return arrays
    if damaged:
        raise RunError(
            f"Every checkpoint in {folder} is damaged: {', '.join(damaged.values())}. "
            "Nothing is left to resume from: train anew in another --workdir, or delete that "
            "folder to start over"
        )
    return None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads all that `write_arrays` wrote into a file, if it still is as it was written.

    Args:
        path: the file.

    Returns:
        name -> array.

    Raises:
        ValueError: if it is damaged or cannot be read.
    """
    try:
        with path.open("rb") as file:
            # NumPy alone misses a damaged header that asks for less than the whole array, and
            # zipfile a damaged table of contents in which one entry swallows others.
            contents = zipfile.ZipFile(file)
            wrong = contents.testzip()
            if wrong:
                raise ValueError(f"wrong checksum of {wrong}")
            file.seek(_PROMISED_ENTRIES, os.SEEK_END)
            if int.from_bytes(file.read(2), "little") != len(contents.namelist()):
                raise ValueError("arrays are missing")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                return dict(archive)
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError) as error:
        # RuntimeError: damaged flags that seem to ask for a password or an unknown compression.
        raise ValueError(str(error)) from error


def packed(arrays: Mapping[str, np.ndarray] | None) -> np.ndarray:
    """Arrays as one array of bytes, to be sent to other workers; None as no bytes."""
    buffer = io.BytesIO()
    if arrays is not None:
        np.savez(buffer, allow_pickle=False, **arrays)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def unpacked(data: np.ndarray) -> dict[str, np.ndarray] | None:
    """The inverse of `packed`."""
    if not len(data):
        return None
    with np.load(io.BytesIO(data.tobytes()), allow_pickle=False) as archive:
        return dict(archive)


def variable_arrays(variables: Mapping[str, Sequence[keras.Variable]]) -> dict[str, np.ndarray]:
    """The values of groups of variables, by the keys that `assign` reads."""
    return {key: keras.ops.convert_to_numpy(variable) for key, variable in _keyed(variables)}


def assign(
    variables: Mapping[str, Sequence[keras.Variable]], arrays: Mapping[str, np.ndarray]
) -> None:
    """Sets groups of variables to the values of `variable_arrays`."""
    for key, variable in _keyed(variables):
        variable.assign(arrays[key])


def _keyed(
    variables: Mapping[str, Sequence[keras.Variable]],
) -> Iterator[tuple[str, keras.Variable]]:
    for group, members in variables.items():
        for index, variable in enumerate(members):
            yield f"{group}/{index:04d}", variable


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.npz"), reverse=True)
