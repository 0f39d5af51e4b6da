"""Figures in plain words: how the report writes numbers, names and verdicts."""

from collections.abc import Mapping
from typing import Any

_NORMS = {"linf": "ℓ∞", "l2": "ℓ₂"}  # noqa: RUF001
_ATTACKS = {
    "clean": "No attack",
    "pgd": "PGD",
    "pgd_paper": "Paper's protocol",
    "apgd_ce": "APGD, cross-entropy",
    "apgd_dlr": "APGD, DLR",
    "apgd_t": "APGD, targeted",
    "fab": "FAB",
    "fab_t": "FAB, targeted",
    "square": "Square",
    "ensemble": "Ensemble",
    "standard": "AutoAttack, standard",
    "plus": "AutoAttack, plus",
    "rand": "AutoAttack, rand",
    "transfer": "Transfer",
}
_COUNTS = {
    "steps": "step",
    "queries": "query",
    "targets": "target",
    "restarts": "restart",
    "draws": "draw",
}
_NARROW_SPACE = "\u202f"
_MASKING = 0.02  # of accuracy; a smaller gap is within what attacks differ by chance


def percent(share: float) -> str:
    """A share in [0, 1] as a percentage with two decimals.

    Example:
        >>> percent(0.575)  # "57.50 %"
    """
    return f"{100 * share:.2f}{_NARROW_SPACE}%"


def radius(eps: float) -> str:
    """A radius in pixels; grey levels of 8-bit images as the fraction they are.

    Example:
        >>> radius(8 / 255)  # "8/255"
    """
    levels = round(255 * eps)
    if levels and abs(255 * eps - levels) < 1e-6:
        return f"{levels}/255"
    return f"{eps:.4g}"


def norm_name(norm: str) -> str:
    """The symbol of a norm."""
    return _NORMS.get(norm, norm)


def attack_name(name: str) -> str:
    """An attack as a reader knows it; names that this page does not know stay as they are."""
    return _ATTACKS.get(name, name)


def budget(attack: Mapping[str, Any]) -> str:
    """What an attack may spend on an image.

    Args:
        attack: its entry in robustness.json.

    Returns:
        Steps, restarts, queries and losses: those that it has.

    Example:
        >>> budget({"steps": 20, "restarts": 10, "losses": ["ce"]})  # "20 steps × 10 restarts, ce"
    """
    counts = [
        f"{attack[plural]:,} {singular if attack[plural] == 1 else plural}"
        for plural, singular in _COUNTS.items()
        if attack.get(plural)
    ]
    parts = [" × ".join(counts)] if counts else []  # noqa: RUF001
    if losses := attack.get("losses"):
        parts.append(" and ".join(losses))
    if after := attack.get("after"):
        parts.append(", ".join(f"{percent(left)} after {name}" for name, left in after.items()))
    elif stages := attack.get("stages"):
        parts.append(", then ".join(stages))
    return "; ".join(parts)


def masking_verdict(figures: Mapping[str, Any]) -> str | None:
    """The masking gap as a sentence.

    Args:
        figures: robustness.json.

    Returns:
        What the gap says of the model; None if it was not measured.
    """
    gap = figures.get("masking_gap")
    if gap is None or not {"pgd_paper", "ensemble"} <= set(figures["attacks"]):
        return None
    paper, ensemble = (figures["attacks"][name]["accuracy"] for name in ("pgd_paper", "ensemble"))
    points = f"{100 * gap:.1f} points"
    if gap <= _MASKING:
        return (
            f"The published protocol leaves {percent(paper)}, the ensemble {percent(ensemble)}: "
            f"a gap of {points}. Here the protocol hides nothing worth mentioning."
        )
    return (
        f"The published protocol leaves {percent(paper)}, the ensemble {percent(ensemble)}. "
        f"The {points} between them are no robustness: they are images that the protocol left "
        "alone and that an attack on the log-scores broke. The protocol attacks exponentials of "
        "the scores, whose gradients vanish away from the centroids."
    )
