"""The folder of a run: what lies where."""

import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from clustr_tf.run.errors import InputError, RunError, first_line
from clustr_tf.run.files import claimed, replacing, write_json

BOUND = "certificate.json"  # inside model.keras
_EPOCHS = "training.epochs"
# Where images lie while they are read changes nothing that a run computes.
_PLACES = {"dataset.in_memory", "dataset.cache_dir"}


@dataclass(frozen=True)
class Workdir:
    """Paths inside a run's folder.

    Args:
        root: the folder; it need not exist.

    Example:
        >>> Workdir(Path("runs/digits")).model  # runs/digits/model.keras
    """

    root: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.root / "config.json"

    @property
    def model(self) -> Path:
        """The final model: images in [0, 1] to log-scores."""
        return self.root / "model.keras"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.root / "checkpoints"

    @property
    def metrics(self) -> Path:
        """A row per epoch."""
        return self.root / "metrics.csv"

    @property
    def tensorboard(self) -> Path:
        """The folder that TensorBoard reads."""
        return self.root / "tensorboard"

    @property
    def summary(self) -> Path:
        """Final figures, seconds, versions, seed, revision."""
        return self.root / "summary.json"

    @property
    def embedding_map(self) -> Path:
        """Picture of the test embeddings and the centroids."""
        return self.root / "embedding.png"

    @contextmanager
    def claimed(
        self, config: Mapping[str, Any], writes: bool = True, wait: bool = False
    ) -> Iterator[None]:
        """The folder for this process alone, while the block runs.

        Args:
            config: nested mappings as JSON takes them; written, or checked to be the very same
                as the one that is there, but that `training.epochs` may be larger and images may
                lie elsewhere (`dataset.in_memory`, `dataset.cache_dir`).
            writes: False for a worker that leaves the folder alone.
            wait: for the process that trains here, instead of refusing.

        Raises:
            InputError: if another process trains here, the folder holds a run with another config
                (names the fields), or cannot be made.
            RunError: if there is no room for the config.
        """
        if not writes:
            yield
            return
        with claimed(self.root, "training", wait):
            self._claim(config)
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Tells in one line when the block cannot write: a full disk, above all.

        Files are complete or not there: those written before stay.

        Raises:
            RunError: instead of OSError.
        """
        try:
            yield
        except OSError as error:
            raise RunError(
                f"{self.root} cannot be written: {error.strerror or error}. What was saved before "
                "is intact: make room and run the same command again to resume"
            ) from error

    def _claim(self, config: Mapping[str, Any]) -> None:
        if self.config.exists():
            before = self.config_values()
            changed = [name for name in changed_fields(before, config) if name not in _PLACES]
            if changed == [_EPOCHS] and config["training"]["epochs"] > before["training"]["epochs"]:
                changed = []
            if changed:
                raise InputError(
                    f"{self.root} holds a run with another config; these fields differ: "
                    f"{', '.join(changed)}. Choose another --workdir, or the same values to "
                    f"resume ({_EPOCHS} may grow)"
                )
            if before == config:
                return
        with self.writing():
            write_json(self.config, config)

    def config_values(self) -> dict[str, Any]:
        """The resolved config of the run, as config.json has it.

        Raises:
            InputError: if this is no workdir, its config cannot be read or is of an old version.
        """
        if not self.config.exists():
            raise InputError(
                f"--workdir={self.root} is no workdir: it has no config.json. "
                "Train first: python -m clustr_tf.train --workdir=..."
            )
        try:
            values = json.loads(self.config.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{self.config} is not JSON ({error})") from error
        except OSError as error:
            raise InputError(f"{self.config} cannot be read: {error}") from error
        if not isinstance(values, dict) or not isinstance(values.get("training"), dict):
            raise InputError(f"{self.config} must be a group of sections. Received: {values!r:.80}")
        if "method" not in values:
            raise InputError(
                f"{self.config} was written by an older version of clustr_tf, whose workdirs are "
                "not read: train anew"
            )
        return values

    def save_classifier(self, classifier: keras.Model) -> None:
        """Saves the final model."""
        with replacing(self.model) as temporary:
            classifier.save(temporary)

    def store_bound(self, figures: Mapping[str, Any]) -> None:
        """Puts what the certificates of the final model rest on into its file, as BOUND.

        Keras reads the model as before; the bound is that of the weights beside it.
        """
        with zipfile.ZipFile(self.model) as archive:
            if BOUND in archive.namelist():
                return
        with replacing(self.model) as temporary:
            shutil.copyfile(self.model, temporary)
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(BOUND, json.dumps(figures, indent=2))

    def load_classifier(self) -> Any:
        """Loads the final model.

        Raises:
            InputError: if training has not finished in this folder, or the file is damaged.
        """
        if not self.model.exists():
            raise InputError(
                f"{self.model} is missing: training has not finished. "
                f"Resume it: python -m clustr_tf.train --workdir={self.root}"
            )
        try:
            return keras.models.load_model(self.model, compile=False)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.model} cannot be loaded: {first_line(error)}") from error


def changed_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The dotted names of the fields in which two configs differ.

    Args:
        old: nested mappings.
        new: others.

    Returns:
        Names such as "training.epochs", sorted; empty if the two are equal.
    """
    before, after = leaves(old), leaves(new)
    missing = object()
    names = sorted(before.keys() | after.keys())
    return [name for name in names if before.get(name, missing) != after.get(name, missing)]


def leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a config by dotted name.

    Example:
        >>> leaves({"training": {"epochs": 40}})  # {"training.epochs": 40}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= leaves(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
