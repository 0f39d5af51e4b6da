"""An evaluation, and what is proved of the same images, as the files of a workdir tell them."""

import json
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clustr_tf.evaluate.report.schema import (
    CERTIFICATES,
    GALLERY,
    MAP,
    PER_EXAMPLE,
    SCHEMA,
    check,
    check_arrays,
)
from clustr_tf.evaluate.results import measured
from clustr_tf.run.errors import InputError, first_line

_STEPS = 33  # of a curve: quantiles of the radii
_NORMS = ("l2", "linf")
_KINDS = ("predictions", *(f"radius_{norm}" for norm in _NORMS))
# What a damaged file ends with.
_DAMAGE = (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Certificate:
    """The certified radii of one classifier by one proof, or by the best of them.

    Attributes:
        title: which classifier, and which proof.
        radii: by norm, float64 `[N]` in pixels; 0 where the image is misclassified or nothing is
            proved.
        clean_accuracy: of this classifier, on all images that were certified.
        median_radius: by norm, likewise.
        abstentions: share of images without a radius, likewise.
        seconds: for one image.
    """

    title: str
    radii: Mapping[str, np.ndarray]
    clean_accuracy: float
    median_radius: Mapping[str, float]
    abstentions: float
    seconds: float

    def certified_accuracy(self, radius: float, norm: str) -> float:
        """Share of images that are right and stay so in a ball.

        Args:
            radius: in pixels.
            norm: "l2" or "linf".
        """
        return float(np.mean(self._certified(radius, norm)))

    def curve(self, norm: str) -> dict[str, Any]:
        """Certified accuracy against radius.

        Args:
            norm: "l2" or "linf".

        Returns:
            `radius`, ascending from 0, with `accuracy` and `interval_95`.
        """
        levels = np.linspace(0, 1, _STEPS)
        quantiles = np.quantile(self.radii[norm], levels, method="closest_observation")
        # Of the radii themselves: the last step stays where the largest radius is.
        grid = np.unique([0.0, *quantiles])
        entries = [measured(self._certified(float(radius), norm)) for radius in grid]
        return {
            "radius": grid.tolist(),
            **{key: [entry[key] for entry in entries] for key in ("accuracy", "interval_95")},
        }

    def _certified(self, radius: float, norm: str) -> np.ndarray:
        return (self.radii[norm] > 0) & (self.radii[norm] >= radius)


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
        """Certified accuracy, as served, at the attack's eps; None if nothing was certified."""
        if not self.certificates:
            return None
        return self.certificates[0].certified_accuracy(self.figures["eps"], self.figures["norm"])


def read_evaluation(folder: Path, workdir: Path | None = None) -> Evaluation:
    """Reads robustness.json, robustness.npz and, where there are any, the certificates.

    Args:
        folder: of an evaluation; of an evaluated run for the one that it shows.
        workdir: of the run, where its certificates are; None for the same folder.

    Returns:
        The evaluation.

    Raises:
        InputError: if a file is missing, damaged or incomplete, in one line that says what to do.

    Example:
        >>> read_evaluation(Path("runs/digits")).figures["worst_case_accuracy"]
    """
    workdir = workdir or folder
    json_path, npz_path = folder / "robustness.json", folder / "robustness.npz"
    for path in (json_path, npz_path):
        if not path.exists():
            raise InputError(
                f"{path} is missing. Evaluate first: python -m clustr_tf.evaluate "
                f"--workdir={workdir}"
            )
    try:
        figures = json.loads(json_path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except ValueError as error:
        raise InputError(f"{json_path} is not JSON ({error}); evaluate again") from error
    check(figures, SCHEMA, str(json_path))
    curve = figures.get("curve") or {"eps": [], "attacks": {}}
    for name, series in curve["attacks"].items():
        if {len(series["accuracy"]), len(series["interval_95"])} != {len(curve["eps"])}:
            raise InputError(
                f"{json_path}: the curve {name!r} has not one value a radius; evaluate again"
            )
    try:
        arrays = _read_arrays(npz_path, PER_EXAMPLE | GALLERY | MAP)
    except _DAMAGE as error:
        raise InputError(
            f"{npz_path} cannot be read ({first_line(error)}); evaluate again"
        ) from error
    check_arrays(arrays, figures["examples"], len(figures["classes"]), str(npz_path))
    return Evaluation(workdir, figures, arrays, read_certificates(workdir, figures["examples"]))


def read_certificates(workdir: Path, examples: int | None = None) -> tuple[Certificate, ...]:
    """Reads certificates.json and certificates.npz of a workdir.

    Args:
        workdir: folder of a run.
        examples: at most so many of the first images are used, those that were attacked; None
            for all that were certified.

    Returns:
        One entry for each classifier and proof, what the model serves first; none where nothing
        was certified since the model was written, or by an older version.

    Raises:
        InputError: if a file is damaged, in one line that says what to do.

    Example:
        >>> read_certificates(Path("runs/digits"), 1000)[0].curve("l2")
    """
    path, model = workdir / "certificates.json", workdir / "model.keras"
    if not path.exists() or (model.exists() and path.stat().st_mtime < model.stat().st_mtime):
        return ()
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(figures, dict) and "proofs" not in figures:
            return ()
        check(figures, CERTIFICATES, str(path))
        names = {f"{kind}_{entry['key']}" for entry in figures["proofs"] for kind in _KINDS}
        arrays = _read_arrays(workdir / "certificates.npz", {"labels", *names})
        shapes = {values.shape for values in arrays.values()}
        if arrays.keys() != {"labels", *names} or len(shapes) != 1 or arrays["labels"].ndim != 1:
            raise ValueError("its arrays do not fit one another")
    except _DAMAGE as error:
        raise InputError(
            f"{path} or .npz cannot be read ({first_line(error)}); certify again: "
            f"python -m clustr_tf.certify --workdir={workdir}"
        ) from error
    return tuple(_certificate(entry, arrays, examples) for entry in figures["proofs"])


def _certificate(
    entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray], examples: int | None
) -> Certificate:
    def radii(norm: str) -> np.ndarray:
        found = arrays[f"radius_{norm}_{entry['key']}"][:examples].astype(np.float64)
        return np.where(correct, found, 0.0)

    correct = arrays[f"predictions_{entry['key']}"][:examples] == arrays["labels"][:examples]
    return Certificate(
        title=entry["title"],
        radii={norm: radii(norm) for norm in _NORMS},
        clean_accuracy=entry["clean_accuracy"],
        median_radius={norm: entry[f"median_radius_{norm}"] for norm in _NORMS},
        abstentions=entry["abstentions"],
        seconds=entry["seconds_per_image"],
    )


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _read_arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Those of the arrays that are there."""
    # Opened here, as np.load leaves damaged files open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files if name in names}
