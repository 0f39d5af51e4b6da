"""The attacks of an evaluation by name: what stands behind each, and in which order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tensorflow as tf

from clustr_tf.attacks import (
    APGD,
    Attack,
    CompiledPGD,
    Square,
    TargetedAPGD,
    pgd_attack,
)
from clustr_tf.classifier import Classifier
from clustr_tf.evaluate.plan import EvaluationPlan
from clustr_tf.run.errors import InputError

LogScores = Callable[[tf.Tensor], tf.Tensor]

ENSEMBLE = ("apgd_ce", "apgd_t", "square")

PAPER_EPS, PAPER_STEP = 8 / 255, 2 / 255
PAPER_RADII = (2 / 255, 8 / 255, 16 / 255, 25.5 / 255)
_QUERY = 0.3  # of the time of a gradient is that of a forward pass
_TARGETS = 9  # of apgd_t, as in AutoAttack


@dataclass(frozen=True)
class Target:
    """What is attacked, and how hard.

    Attributes:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        image_shape: (H, W, C).
        num_classes: C.
        plan: norm, steps, restarts, queries.
        source: the model that is attacked instead by `transfer`; None for none.
        clustered: whether the log-scores are those of clusters, as the paper's protocol needs.
    """

    log_scores: LogScores
    image_shape: tuple[int, int, int]
    num_classes: int
    plan: EvaluationPlan
    source: Classifier | None = None
    clustered: bool = False
    _pgd: dict[str, CompiledPGD] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def pgd(self, loss: str) -> CompiledPGD:
        """PGD on a key of `ATTACK_LOSSES`: one for all attacks with this loss, traced once."""
        if loss not in self._pgd:
            norm = self.plan.attack.norm
            self._pgd[loss] = CompiledPGD(self.log_scores, self.image_shape, norm, loss)
        return self._pgd[loss]

    def pgd_attack(self, loss: str, steps: int, restarts: int = 1) -> Attack:
        """PGD from random points, in steps that are the plan's share of the radius.

        Args:
            loss: a key of `ATTACK_LOSSES`.
            steps: gradient steps of a restart.
            restarts: starts.

        Example:
            >>> target.pgd_attack("margin", steps=20)
        """
        ratio = self.plan.attack.step_ratio
        return pgd_attack(self.pgd(loss), lambda eps: ratio * eps, steps=steps, restarts=restarts)


@dataclass(frozen=True)
class NamedAttack:
    """An attack of the suite on one target.

    Attributes:
        stages: name -> attack; each attacks what the ones before it left. Stages of one name are
            one and the same attack, whichever attack of the suite they are part of.
        settings: what a reader has to know to repeat it: steps, restarts, losses, queries.
    """

    stages: Mapping[str, Attack]
    settings: Mapping[str, Any]


def _pgd(target: Target) -> NamedAttack:
    attack = target.plan.attack
    return NamedAttack(
        {
            f"pgd_{loss}": target.pgd_attack(loss, attack.steps, attack.restarts)
            for loss in attack.losses
        },
        {"steps": attack.steps, "restarts": attack.restarts, "losses": list(attack.losses)},
    )


def _pgd_paper(target: Target) -> NamedAttack:
    """The published protocol, which overstates robustness: exp(log-scores) attacked as logits.

    Alfarra et al., arXiv 2006.07682; `adv_attack.py` of the official code.
    """
    plan = target.plan

    def published_scores(images: tf.Tensor) -> tf.Tensor:
        return tf.exp(target.log_scores(images))

    attack = pgd_attack(
        CompiledPGD(published_scores, target.image_shape, plan.attack.norm, "ce"),
        lambda eps: tf.fill(tf.shape(eps), PAPER_STEP),
        steps=plan.paper_steps,
        restarts=plan.paper_restarts,
    )
    settings = {
        "steps": plan.paper_steps,
        "restarts": plan.paper_restarts,
        "losses": ["ce on exp(log-scores)"],
        "step_size": PAPER_STEP,
    }
    return NamedAttack({"pgd_paper": attack}, settings)


def _one_attempt(run: Callable[..., tf.Tensor], cost: float) -> Attack:
    return Attack(
        lambda images, labels, eps, seed, attempt, ids: run(
            images, labels, eps=eps, seed=seed, example_ids=ids
        ),
        cost=cost,
    )


def _apgd_ce(target: Target) -> NamedAttack:
    norm, steps = target.plan.attack.norm, target.plan.apgd_steps
    apgd = APGD(target.log_scores, target.image_shape, norm, "ce", steps)
    return NamedAttack(
        {"apgd_ce": _one_attempt(apgd, steps)}, {"steps": steps, "restarts": 1, "losses": ["ce"]}
    )


def _apgd_t(target: Target) -> NamedAttack:
    norm, steps = target.plan.attack.norm, target.plan.apgd_steps
    apgd = TargetedAPGD(target.log_scores, target.image_shape, norm, steps)
    attack = Attack(
        lambda images, labels, eps, seed, attempt, ids: apgd(
            images, labels, eps=eps, seed=seed, example_ids=ids, target_rank=attempt + 1
        ),
        attempts=min(_TARGETS, target.num_classes - 1),
        cost=steps,
    )
    settings = {"steps": steps, "restarts": 1, "losses": ["targeted dlr"], "targets": _TARGETS}
    return NamedAttack({"apgd_t": attack}, settings)


def _square(target: Target) -> NamedAttack:
    norm, queries = target.plan.attack.norm, target.plan.square_queries
    square = Square(target.log_scores, target.image_shape, norm, queries)
    return NamedAttack(
        {"square": _one_attempt(square, queries * _QUERY)},
        {"queries": queries, "restarts": 1, "losses": ["margin"]},
    )


def _ensemble(target: Target) -> NamedAttack:
    """AutoAttack's standard version without FAB (Croce and Hein, arXiv 2003.01690)."""
    stages = {name: ATTACKS[name](target).stages[name] for name in ENSEMBLE}
    return NamedAttack(stages, {"stages": list(ENSEMBLE)})


def _transfer(target: Target) -> NamedAttack:
    """PGD on the margin of another model; nothing without one."""
    attack, source = target.plan.attack, target.source
    settings = {"steps": attack.steps, "restarts": attack.restarts, "losses": ["margin"]}
    if source is None:
        return NamedAttack({}, settings)
    transfer = replace(target, log_scores=source).pgd_attack(
        "margin", attack.steps, attack.restarts
    )
    return NamedAttack({"transfer": transfer}, settings)


# In the order in which they are made and reported. Another attack is a line here.
ATTACKS: dict[str, Callable[[Target], NamedAttack]] = {
    "pgd": _pgd,
    "pgd_paper": _pgd_paper,
    "apgd_ce": _apgd_ce,
    "apgd_t": _apgd_t,
    "square": _square,
    "ensemble": _ensemble,
    "transfer": _transfer,
}


def build_stages(target: Target) -> dict[str, Attack]:
    """Every stage of every attack by its name; none is compiled before it is used."""
    built = [build(target).stages for build in ATTACKS.values()]
    return {name: attack for stages in built for name, attack in stages.items()}


@dataclass(frozen=True)
class Protocol:
    """What is measured where nothing else is asked for."""

    name: str
    attacks: tuple[str, ...]  # out of "clean" and the keys of ATTACKS
    eps: float | None = None  # radius in pixels; None: the plan's
    radii: tuple[float, ...] | None = None  # of the curve, in pixels; None: the plan's
    diagnosed: bool = True  # whether the diagnostics are made
    for_clusters: bool = False  # whether it means nothing for a dense head


PROTOCOLS = {
    "adaptive": Protocol("adaptive", ("clean", "pgd", "pgd_paper", "ensemble")),
    # The published one, which overstates robustness.
    "paper": Protocol(
        "paper",
        ("clean", "pgd_paper"),
        PAPER_EPS,
        PAPER_RADII,
        diagnosed=False,
        for_clusters=True,
    ),
}


def chosen_attacks(
    target: Target, protocol: Protocol, asked: Sequence[str] | None = None
) -> tuple[str, ...]:
    """The attacks to make, in the order of the suite.

    Args:
        target: what is attacked.
        protocol: what is measured where nothing else is asked for.
        asked: names out of "clean" and `ATTACKS`; None for those of the protocol that fit the
            target, and `transfer` where it has a source.

    Returns:
        Names.

    Raises:
        InputError: if a name is unknown or does not fit the target.

    Example:
        >>> chosen_attacks(target, PROTOCOLS["paper"])  # ("clean", "pgd_paper")
    """
    allowed, names, source = ("clean", *ATTACKS), asked, target.source
    if names is None:
        names = protocol.attacks + (("transfer",) if source else ())
        names = tuple(name for name in names if target.clustered or name != "pgd_paper")
    if not names or set(names) - set(allowed):
        raise InputError(f"--attacks must be out of {', '.join(allowed)}. Received: {names}")
    if not target.clustered and (protocol.for_clusters or "pgd_paper" in names):
        raise InputError(
            "pgd_paper attacks the scores of clusters, which a model with a dense head lacks. "
            f"Received: --attacks={','.join(names)}"
        )
    if ("transfer" in names) != (source is not None):
        raise InputError(
            "--attacks=transfer and --source=DIR, the workdir of the model that is attacked, "
            "belong together"
        )
    if source is not None and source.image_shape != target.image_shape:
        raise InputError(
            f"--source must hold a model for images of shape {target.image_shape}. "
            f"Received: {source.image_shape}"
        )
    return tuple(name for name in allowed if name in names)
