"""The folder of a run: what lies where."""

import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras

from clustr_tf.certificates import LipschitzBound
from clustr_tf.claims import claimed
from clustr_tf.classifier import Classifier
from clustr_tf.errors import InputError, RunError
from clustr_tf.experiment import Experiment, changed_fields, read_experiment
from clustr_tf.files import replacing, write_json
from clustr_tf.sections import section_values

BOUND = "certificate.json"  # inside model.keras


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
        self, experiment: Experiment, writes: bool = True, wait: bool = False
    ) -> Iterator[None]:
        """The folder for this process alone, while the block runs.

        Args:
            experiment: written as the config, or checked to be the very same one.
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
            self._claim(experiment)
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

    def _claim(self, experiment: Experiment) -> None:
        if not self.config.exists():
            with self.writing():
                write_json(self.config, section_values(experiment))
            return
        changed = changed_fields(self.experiment(), experiment)
        if changed:
            raise InputError(
                f"{self.root} holds a run with another config; these fields differ: "
                f"{', '.join(changed)}. Choose another --workdir, or the same values to resume"
            )

    def experiment(self) -> Experiment:
        """The experiment of the run.

        Raises:
            InputError: if this is no workdir or its config cannot be read.
        """
        if not self.config.exists():
            raise InputError(
                f"--workdir={self.root} is no workdir: it has no config.json. "
                "Train first: python -m clustr_tf.train --workdir=..."
            )
        try:
            values = json.loads(self.config.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise InputError(f"{self.config} is not JSON ({error})") from error
        return read_experiment(values)

    def save_classifier(self, classifier: Classifier) -> None:
        """Saves the final model."""
        with replacing(self.model) as temporary:
            classifier.save(temporary)

    def store_bound(self, bound: LipschitzBound) -> None:
        """Puts what the certificates of the final model rest on into its file, as BOUND.

        Keras reads the model as before; the bound is that of the weights beside it.
        """
        with zipfile.ZipFile(self.model) as archive:
            if BOUND in archive.namelist():
                return
        with replacing(self.model) as temporary:
            shutil.copyfile(self.model, temporary)
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(BOUND, json.dumps(bound.figures(), indent=2))

    def load_classifier(self) -> Classifier:
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
            first_line = str(error).splitlines()[0]
            raise InputError(f"{self.model} cannot be loaded: {first_line}") from error
