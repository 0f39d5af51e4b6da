"""An evaluation as its files tell it."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clustr_tf.errors import InputError
from clustr_tf.evaluation.report.arrays import GALLERY, MAP, PER_EXAMPLE, check_arrays
from clustr_tf.evaluation.report.certificates import Certificate, read_certificates
from clustr_tf.evaluation.report.schema import SCHEMA, check


@dataclass(frozen=True)
class Evaluation:
    """The files of one evaluation, checked.

    Attributes:
        workdir: where they lie.
        figures: robustness.json.
        arrays: robustness.npz; those of the gallery are all there or none is, likewise of the map.
        certificates: certificates.json and .npz; of what the model serves first.
    """

    workdir: Path
    figures: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    certificates: tuple[Certificate, ...] = ()

    def get(self, name: str) -> Any:
        """An optional part of the figures; None if it is not there or null."""
        return self.figures.get(name)

    @property
    def failed_diagnostics(self) -> list[Mapping[str, Any]]:
        """The diagnostics that speak against the figures."""
        return [entry for entry in self.get("diagnostics") or () if not entry["passed"]]

    @property
    def strongest_attack(self) -> Mapping[str, Any] | None:
        """Name and accuracy of the attack behind the worst case; None if nothing attacked."""
        name = self.get("worst_case_attack")
        if name not in self.figures["attacks"]:
            return None
        return {"name": name, "accuracy": self.figures["attacks"][name]["accuracy"]}

    @property
    def has_gallery(self) -> bool:
        """Whether there are adversarial images to show."""
        return "gallery_rows" in self.arrays

    @property
    def has_map(self) -> bool:
        """Whether there is an embedding map to show."""
        return "map_rows" in self.arrays

    @property
    def proved_accuracy(self) -> float | None:
        """Certified accuracy of what the model serves at the attack's eps; None if not certified.

        In l-infinity by norm equivalence alone.
        """
        if not self.certificates:
            return None
        return self.certificates[0].certified_accuracy(self.figures["eps"], self.figures["norm"])


def read_evaluation(workdir: Path) -> Evaluation:
    """Reads robustness.json, robustness.npz and, where there are any, the certificates.

    Args:
        workdir: folder of an evaluated run.

    Returns:
        The evaluation.

    Raises:
        InputError: if a file is missing, damaged or incomplete, in one line that says what to do.

    Example:
        >>> read_evaluation(Path("runs/digits")).figures["worst_case_accuracy"]
    """
    figures = _read_json(_existing(workdir, "robustness.json"))
    arrays = _read_arrays(_existing(workdir, "robustness.npz"))
    examples, classes = figures["examples"], len(figures["classes"])
    check_arrays(arrays, examples, classes, str(workdir / "robustness.npz"))
    return Evaluation(workdir, figures, arrays, read_certificates(workdir, examples))


def _existing(workdir: Path, name: str) -> Path:
    path = workdir / name
    if not path.exists():
        raise InputError(
            f"{path} is missing. Evaluate first: python -m clustr_tf.evaluate --workdir={workdir}"
        )
    return path


def _read_json(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON number")

    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); evaluate again") from error
    check(values, SCHEMA, str(path))
    _check_series(values, path)
    return dict(values)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here, as np.load leaves damaged files open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            wanted = (PER_EXAMPLE | GALLERY | MAP).keys() & set(archive.files)
            return {name: archive[name] for name in wanted}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        first_line = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read ({first_line}); evaluate again") from error


def _check_series(figures: Mapping[str, Any], path: Path) -> None:
    """Every series must be as long as its axis."""
    series = []
    if curve := figures.get("curve"):
        series += [(name, entry, curve["eps"]) for name, entry in curve["attacks"].items()]
    for name, entry, axis in series:
        if {len(entry["accuracy"]), len(entry["interval_95"])} != {len(axis)}:
            raise InputError(
                f"{path}: the curve {name!r} has not one value a radius; evaluate again"
            )
