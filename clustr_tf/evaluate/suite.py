"""The attacks of an evaluation by name: what stands behind each, and in which order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tensorflow as tf

from clustr_tf.attacks import (
    APGD,
    FAB,
    Attack,
    CompiledPGD,
    Square,
    TargetedAPGD,
    TargetedFAB,
    pgd_attack,
)
from clustr_tf.classifier import Classifier
from clustr_tf.evaluate.plan import EvaluationPlan
from clustr_tf.run.errors import InputError

LogScores = Callable[[tf.Tensor], tf.Tensor]

ENSEMBLE = ("apgd_ce", "apgd_t", "square")
# The versions of AutoAttack, arXiv 2003.01690, with the official code's order and budgets.
STANDARD = ("apgd_ce", "apgd_t", "fab_t", "square")
PLUS = ("apgd_ce_5", "apgd_dlr", "fab", "square", "apgd_t", "fab_t")
RAND = ("apgd_ce_rand", "apgd_dlr_rand")

PAPER_EPS, PAPER_STEP = 8 / 255, 2 / 255
PAPER_RADII = (2 / 255, 8 / 255, 16 / 255, 25.5 / 255)
_QUERY = 0.3  # of the time of a gradient is that of a forward pass
_TARGETS = 9  # of apgd_t and fab_t, as in AutoAttack
_RESTARTS = 5  # of the attacks that only "plus" has
_RAND_DRAWS = 20  # gradients that "rand" averages


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
        search: what gradients are taken of, the same in a lower precision; None: the log-scores
            themselves. Verdicts, and Square, which compares margins, are never made by it.
    """

    log_scores: LogScores
    image_shape: tuple[int, int, int]
    num_classes: int
    plan: EvaluationPlan
    source: Classifier | None = None
    clustered: bool = False
    search: LogScores | None = None
    _pgd: dict[str, CompiledPGD] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def searched(self) -> LogScores:
        """What gradients are taken of."""
        return self.search or self.log_scores

    def pgd(self, loss: str) -> CompiledPGD:
        """PGD on a key of `ATTACK_LOSSES`: one for all attacks with this loss, traced once."""
        if loss not in self._pgd:
            norm = self.plan.attack.norm
            self._pgd[loss] = CompiledPGD(self.searched, self.image_shape, norm, loss)
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


Build = Callable[[Target], NamedAttack]


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
        return tf.exp(target.searched(images))

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


def attempts_of(
    run: Callable[..., tf.Tensor], attempts: int = 1, by: str | None = None, cost: float = 1.0
) -> Attack:
    """An `APGD`, `FAB` or `Square` as an attack of an evaluation.

    Args:
        run: as their `__call__`.
        attempts: how often it is tried.
        by: the argument that tells `run` which attempt it is.
        cost: of an attempt; see `Attack`.

    Returns:
        The attack.
    """
    return Attack(
        lambda images, labels, eps, seed, attempt, ids: run(
            images, labels, eps=eps, seed=seed, example_ids=ids, **({by: attempt} if by else {})
        ),
        attempts,
        cost=cost,
    )


def _apgd(name: str, loss: str, restarts: int = 1, draws: int = 1) -> Build:
    def build(target: Target) -> NamedAttack:
        norm, steps = target.plan.attack.norm, target.plan.apgd_steps
        apgd = APGD(target.searched, target.image_shape, norm, loss, steps, draws)
        settings = {"steps": steps, "restarts": restarts, "losses": [loss]}
        if draws > 1:
            settings["draws"] = draws
        return NamedAttack({name: attempts_of(apgd, restarts, cost=steps * draws)}, settings)

    return build


def _towards(
    target: Target, name: str, run: Callable[..., tf.Tensor], settings: Mapping[str, Any]
) -> NamedAttack:
    """A targeted attack, towards the best other classes in turn."""
    targets = min(_TARGETS, target.num_classes - 1)
    ranked = attempts_of(
        lambda *args, rank, **kwargs: run(*args, target_rank=rank + 1, **kwargs),
        targets,
        "rank",
        settings["steps"],
    )
    return NamedAttack({name: ranked}, {**settings, "restarts": 1, "targets": targets})


def _apgd_t(target: Target) -> NamedAttack:
    norm, steps = target.plan.attack.norm, target.plan.apgd_steps
    apgd = TargetedAPGD(target.searched, target.image_shape, norm, steps)
    return _towards(target, "apgd_t", apgd, {"steps": steps, "losses": ["targeted dlr"]})


def _fab(target: Target) -> NamedAttack:
    norm, steps = target.plan.attack.norm, target.plan.fab_steps
    fab = FAB(target.log_scores, target.image_shape, norm, steps)
    settings = {"steps": steps, "restarts": _RESTARTS, "losses": ["smallest perturbation"]}
    return NamedAttack({"fab": attempts_of(fab, _RESTARTS, "restart", steps)}, settings)


def _fab_t(target: Target) -> NamedAttack:
    norm, steps = target.plan.attack.norm, target.plan.fab_steps
    fab = TargetedFAB(target.log_scores, target.image_shape, norm, steps)
    return _towards(target, "fab_t", fab, {"steps": steps, "losses": ["smallest perturbation"]})


def _square(target: Target) -> NamedAttack:
    norm, queries = target.plan.attack.norm, target.plan.square_queries
    square = Square(target.log_scores, target.image_shape, norm, queries)
    return NamedAttack(
        {"square": attempts_of(square, cost=queries * _QUERY)},
        {"queries": queries, "restarts": 1, "losses": ["margin"]},
    )


def _in_turn(*stages: str) -> Build:
    """Several attacks, each on what the ones before it left."""
    return lambda target: NamedAttack(
        {name: _STAGES[name](target).stages[name] for name in stages}, {"stages": list(stages)}
    )


def _transfer(target: Target) -> NamedAttack:
    """PGD on the margin of another model; nothing without one."""
    attack, source = target.plan.attack, target.source
    settings = {"steps": attack.steps, "restarts": attack.restarts, "losses": ["margin"]}
    if source is None:
        return NamedAttack({}, settings)
    transfer = replace(target, log_scores=source, search=None).pgd_attack(
        "margin", attack.steps, attack.restarts
    )
    return NamedAttack({"transfer": transfer}, settings)


# What attacks in turn are made of.
_STAGES: dict[str, Build] = {
    "apgd_ce": _apgd("apgd_ce", "ce"),
    "apgd_ce_5": _apgd("apgd_ce_5", "ce", restarts=_RESTARTS),
    "apgd_ce_rand": _apgd("apgd_ce_rand", "ce", draws=_RAND_DRAWS),
    "apgd_dlr": _apgd("apgd_dlr", "dlr", restarts=_RESTARTS),
    "apgd_dlr_rand": _apgd("apgd_dlr_rand", "dlr", draws=_RAND_DRAWS),
    "apgd_t": _apgd_t,
    "fab": _fab,
    "fab_t": _fab_t,
    "square": _square,
}

# In the order in which they are made and reported. Another attack is a line here.
ATTACKS: dict[str, Build] = {
    "pgd": _pgd,
    "pgd_paper": _pgd_paper,
    "apgd_ce": _STAGES["apgd_ce"],
    "apgd_dlr": _STAGES["apgd_dlr"],
    "apgd_t": _apgd_t,
    "fab": _fab,
    "fab_t": _fab_t,
    "square": _square,
    "ensemble": _in_turn(*ENSEMBLE),
    "standard": _in_turn(*STANDARD),
    "plus": _in_turn(*PLUS),
    "rand": _in_turn(*RAND),
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
