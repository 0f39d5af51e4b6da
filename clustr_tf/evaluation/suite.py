"""The attacks of an evaluation by name: what stands behind each, and in which order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from clustr_tf.attacks import APGD, PGD, Attack, Square, TargetedAPGD, pgd_attack, pgd_attacks
from clustr_tf.classifier import Classifier
from clustr_tf.evaluation.settings import EvaluationConfig

LogScores = Callable[[tf.Tensor], tf.Tensor]

ENSEMBLE = ("apgd_ce", "apgd_t", "square")

PAPER_EPS, PAPER_STEP = 8 / 255, 2 / 255
PAPER_RADII = (2 / 255, 8 / 255, 16 / 255, 25.5 / 255)
_TARGETS = 9  # of apgd_t, as in AutoAttack


@dataclass(frozen=True)
class Target:
    """What is attacked, and how hard.

    Attributes:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        image_shape: (H, W, C).
        num_classes: C.
        config: norm, steps, restarts, queries.
        source: the model that is attacked instead by `transfer`; None for none.
    """

    log_scores: LogScores
    image_shape: tuple[int, int, int]
    num_classes: int
    config: EvaluationConfig
    source: Classifier | None = None
    _pgd: dict[str, PGD] = field(default_factory=dict, init=False, repr=False, compare=False)

    def pgd(self, loss: str) -> PGD:
        """PGD on a loss, one and the same for all attacks with it: it is traced once.

        Args:
            loss: as in `PGD`.

        Returns:
            PGD on these log-scores in the config's norm.
        """
        if loss not in self._pgd:
            norm = self.config.attack.norm
            self._pgd[loss] = PGD(self.log_scores, self.image_shape, norm, loss)
        return self._pgd[loss]

    def pgd_attack(self, loss: str, steps: int, restarts: int = 1) -> Attack:
        """PGD from random points, in steps that are the config's share of the radius.

        Args:
            loss: as in `PGD`.
            steps: gradient steps of a restart.
            restarts: starts.

        Returns:
            The attack.

        Example:
            >>> target.pgd_attack("margin", steps=20)
        """
        ratio = self.config.attack.step_ratio
        return pgd_attack(self.pgd(loss), lambda eps: ratio * eps, steps=steps, restarts=restarts)


@dataclass(frozen=True)
class NamedAttack:
    """An entry of the registry.

    Attributes:
        build: the attack on a target, or the attacks behind its stages by the stages' names.
        settings: what a reader has to know of it to repeat it: steps, restarts, losses, queries.
        stages: their names, each of which attacks what the ones before it left; None if the attack
            is one stage of its own name.
    """

    build: Callable[[Target], Attack | Mapping[str, Attack]]
    settings: Callable[[EvaluationConfig], dict[str, Any]]
    stages: Callable[[EvaluationConfig], tuple[str, ...]] | None = None


def _pgd(target: Target) -> dict[str, Attack]:
    attack = target.config.attack
    return {
        f"pgd_{loss}": target.pgd_attack(loss, attack.steps, attack.restarts)
        for loss in attack.losses
    }


def _pgd_settings(config: EvaluationConfig) -> dict[str, Any]:
    attack = config.attack
    return {"steps": attack.steps, "restarts": attack.restarts, "losses": list(attack.losses)}


def _pgd_paper(target: Target) -> Attack:
    """The published protocol, which overstates robustness: exp(log-scores) attacked as logits.

    Alfarra et al., arXiv 2006.07682; `adv_attack.py` of the official code.
    """
    config = target.config

    def published_scores(images: tf.Tensor) -> tf.Tensor:
        return tf.exp(target.log_scores(images))

    return pgd_attack(
        PGD(published_scores, target.image_shape, config.attack.norm, "ce"),
        lambda eps: tf.fill(tf.shape(eps), PAPER_STEP),
        steps=config.paper_steps,
        restarts=config.paper_restarts,
    )


def _pgd_paper_settings(config: EvaluationConfig) -> dict[str, Any]:
    return {
        "steps": config.paper_steps,
        "restarts": config.paper_restarts,
        "losses": ["ce on exp(log-scores)"],
        "step_size": PAPER_STEP,
    }


def _one_attempt(run: Callable[..., tf.Tensor]) -> Attack:
    return Attack(
        lambda images, labels, eps, seed, attempt, ids: run(
            images, labels, eps=eps, seed=seed, example_ids=ids
        )
    )


def _apgd_ce(target: Target) -> Attack:
    config = target.config
    return _one_attempt(
        APGD(target.log_scores, target.image_shape, config.attack.norm, "ce", config.apgd_steps)
    )


def _apgd_settings(config: EvaluationConfig) -> dict[str, Any]:
    return {"steps": config.apgd_steps, "restarts": 1, "losses": ["ce"]}


def _apgd_t(target: Target) -> Attack:
    config = target.config
    apgd = TargetedAPGD(
        target.log_scores, target.image_shape, config.attack.norm, config.apgd_steps
    )
    return Attack(
        lambda images, labels, eps, seed, attempt, ids: apgd(
            images, labels, eps=eps, seed=seed, example_ids=ids, target_rank=attempt + 1
        ),
        attempts=min(_TARGETS, target.num_classes - 1),
    )


def _apgd_t_settings(config: EvaluationConfig) -> dict[str, Any]:
    return _apgd_settings(config) | {"losses": ["targeted dlr"], "targets": _TARGETS}


def _square(target: Target) -> Attack:
    config = target.config
    return _one_attempt(
        Square(target.log_scores, target.image_shape, config.attack.norm, config.square_queries)
    )


def _square_settings(config: EvaluationConfig) -> dict[str, Any]:
    return {"queries": config.square_queries, "restarts": 1, "losses": ["margin"]}


def _transfer(target: Target) -> Attack | dict[str, Attack]:
    """PGD on the margin of another model."""
    if target.source is None:
        return {}
    stages = pgd_attacks(target.source, target.source.image_shape, target.config.attack)
    return stages.get("margin") or next(iter(stages.values()))


def _transfer_settings(config: EvaluationConfig) -> dict[str, Any]:
    return _pgd_settings(config) | {"losses": ["margin"]}


# In the order in which they are made and reported.
ATTACKS: dict[str, NamedAttack] = {
    "pgd": NamedAttack(
        _pgd, _pgd_settings, lambda config: tuple(f"pgd_{loss}" for loss in config.attack.losses)
    ),
    "pgd_paper": NamedAttack(_pgd_paper, _pgd_paper_settings),
    "apgd_ce": NamedAttack(_apgd_ce, _apgd_settings),
    "apgd_t": NamedAttack(_apgd_t, _apgd_t_settings),
    "square": NamedAttack(_square, _square_settings),
    # AutoAttack's standard version without FAB (Croce and Hein, arXiv 2003.01690).
    "ensemble": NamedAttack(
        lambda target: {}, lambda config: {"stages": list(ENSEMBLE)}, lambda config: ENSEMBLE
    ),
    "transfer": NamedAttack(_transfer, _transfer_settings),
}


def stages_of(name: str, config: EvaluationConfig) -> tuple[str, ...]:
    """The stages of an attack; each attacks what the ones before it left.

    Args:
        name: a key of `ATTACKS`.
        config: the losses of pgd.

    Returns:
        Names of stages.

    Example:
        >>> stages_of("ensemble", config)  # ("apgd_ce", "apgd_t", "square")
    """
    stages = ATTACKS[name].stages
    return stages(config) if stages else (name,)


def build_stages(target: Target) -> dict[str, Attack]:
    """Every stage; none is compiled before it is used.

    Args:
        target: what is attacked.

    Returns:
        Name of the stage -> attack.
    """
    stages: dict[str, Attack] = {}
    for name, entry in ATTACKS.items():
        built = entry.build(target)
        stages |= {name: built} if isinstance(built, Attack) else built
    return stages
