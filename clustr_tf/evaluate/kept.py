"""Every evaluation of a run is kept; the one that says most is shown at the top of its folder."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clustr_tf.attacks import PGD
from clustr_tf.run.errors import InputError
from clustr_tf.run.files import replacing

FOLDER = "evaluations"
FILES = ("robustness.npz", "robustness.json", "report.html")


def evaluation_name(figures: Mapping[str, Any]) -> str:
    """The folder of an evaluation: what was asked for, in words.

    Args:
        figures: of robustness.json.

    Returns:
        Norm, eps, protocol, attacks with their effort, images and seed.

    Example:
        >>> evaluation_name(figures)  # "linf-0.1-adaptive-clean+pgd_20x1-360-seed0"
    """

    def attack(name: str, entry: Mapping[str, Any]) -> str:
        effort = [str(entry[part]) for part in ("steps", "restarts", "queries") if part in entry]
        return f"{name}_{'x'.join(effort)}" if effort else name

    attacks = "+".join(attack(name, entry) for name, entry in figures["attacks"].items())
    asked = (figures["norm"], f"{figures['eps']:.6g}", figures["protocol"], attacks)
    return "-".join(map(str, (*asked, figures["examples"], f"seed{figures['seed']}")))


def shown(root: Path, configured: PGD, weights: str) -> Path | None:
    """The evaluation that is shown at the top of a run's folder.

    Of the model as it is now: at the configured radius, then on most images, then with the lowest
    worst case; the latest of equals.

    Args:
        root: the run's folder.
        configured: radius and norm that the run asks for.
        weights: digest of the model.

    Returns:
        Its folder; None if there is none.

    Raises:
        InputError: if the figures of one cannot be read.
    """

    def rank(folder: Path) -> tuple[bool, int, float, float]:
        figures = found[folder]
        worst = figures.get("worst_case_accuracy")
        return (
            (figures["norm"], figures["eps"]) == (configured.norm, configured.eps),
            figures["examples"] if worst is not None else 0,
            -math.inf if worst is None else -worst,
            (folder / "robustness.json").stat().st_mtime,
        )

    found = {path.parent: _figures(path) for path in root.glob(f"{FOLDER}/*/robustness.json")}
    own = [folder for folder, figures in found.items() if figures.get("weights") == weights]
    return max(own, key=rank, default=None)


def show(folder: Path, root: Path) -> None:
    """Copies an evaluation to the top of the run's folder, the figures before the page."""
    for name in FILES:
        with replacing(root / name) as temporary:
            shutil.copyfile(folder / name, temporary)


def _figures(path: Path) -> dict[str, Any]:
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        numbers = {"eps": float(figures["eps"]), "examples": int(figures["examples"])}
        return {**figures, "norm": figures["norm"], **numbers}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read ({error!r}): remove its folder and evaluate again"
        ) from error
