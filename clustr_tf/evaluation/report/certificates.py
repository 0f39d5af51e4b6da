"""What a workdir's certificates prove of the images of its evaluation."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clustr_tf.errors import InputError
from clustr_tf.evaluation.confidence import measured
from clustr_tf.evaluation.report.schema import CERTIFICATES, check

_STEPS = 33  # of a curve: quantiles of the radii


@dataclass(frozen=True)
class Certificate:
    """The certified radii of one classifier by one proof.

    Attributes:
        title: which classifier, and which proof.
        radii: float64 `[N]` l2 in pixels, 0 where the image is misclassified or nothing is proved.
        num_pixels: H * W * C.
        clean_accuracy: of this classifier, on all images that were certified.
        mean_radius: l2 in pixels, likewise.
        abstentions: share of images without a radius, likewise.
        seconds: for one image, without the embedding.
    """

    title: str
    radii: np.ndarray
    num_pixels: int
    clean_accuracy: float
    mean_radius: float
    abstentions: float
    seconds: float

    def certified_accuracy(self, radius: float, norm: str) -> float:
        """Share of images that are right and stay so in a ball; l-infinity by norm equivalence.

        Args:
            radius: in pixels.
            norm: "l2" or "linf".
        """
        radii = self.radii / self._scale(norm)
        return float(np.mean((radii > 0) & (radii >= radius)))

    def curve(self, norm: str) -> dict[str, Any]:
        """Certified accuracy against radius.

        Args:
            norm: "l2" or "linf".

        Returns:
            `radius`, ascending from 0, with `accuracy` and `interval_95`.
        """
        quantiles = np.quantile(self.radii, np.linspace(0, 1, _STEPS), method="closest_observation")
        # Of the radii themselves: the last step stays where the largest radius is.
        grid = np.unique([0.0, *quantiles])
        entries = [
            measured(self.certified_accuracy(float(radius), "l2"), len(self.radii))
            for radius in grid
        ]
        return {
            "radius": (grid / self._scale(norm)).tolist(),
            **{key: [entry[key] for entry in entries] for key in ("accuracy", "interval_95")},
        }

    def _scale(self, norm: str) -> float:
        """|d|_2 <= sqrt(H W C) |d|_inf."""
        return float(np.sqrt(self.num_pixels)) if norm == "linf" else 1.0


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
    again = f"certify again: python -m clustr_tf.certify --workdir={workdir}"
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(figures, dict) and "proofs" not in figures:
            return ()
        check(figures, CERTIFICATES, str(path))
        arrays = _read_arrays(workdir / "certificates.npz", figures["proofs"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        first_line = str(error).splitlines()[0]
        raise InputError(f"{path} or .npz cannot be read ({first_line}); {again}") from error
    return tuple(
        _certificate(entry, arrays, figures["num_pixels"], examples) for entry in figures["proofs"]
    )


def _read_arrays(path: Path, entries: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    # Opened here, as np.load leaves damaged files open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        names = [f"{kind}_{entry['key']}" for entry in entries for kind in _KINDS]
        arrays = {name: archive[name] for name in ("labels", *names)}
    if len({values.shape for values in arrays.values()}) != 1 or arrays["labels"].ndim != 1:
        raise ValueError("its arrays do not fit one another")
    return arrays


_KINDS = ("predictions", "radius_l2")


def _certificate(
    entry: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    num_pixels: int,
    examples: int | None,
) -> Certificate:
    predictions, radii = (arrays[f"{kind}_{entry['key']}"][:examples] for kind in _KINDS)
    correct = predictions == arrays["labels"][:examples]
    return Certificate(
        title=entry["title"],
        radii=np.where(correct, radii.astype(np.float64), 0.0),
        num_pixels=num_pixels,
        clean_accuracy=entry["clean_accuracy"],
        mean_radius=entry["mean_radius_l2"],
        abstentions=entry["abstentions"],
        seconds=entry["seconds_per_image"],
    )
