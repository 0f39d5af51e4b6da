"""The attacks of an evaluation by name: what stands behind each, and in which order."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from clustr_tf.attacks import APGD, Attack, Square, TargetedAPGD, pgd_attack, pgd_attacks
from clustr_tf.classifier import Classifier
from clustr_tf.evaluation.settings import EvaluationConfig

LogScores = Callable[[tf.Tensor], tf.Tensor]

ENSEMBLE = ("apgd_ce", "apgd_t", "square")
NAMES = ("pgd", "pgd_paper", *ENSEMBLE, "ensemble", "transfer")

PAPER_EPS, PAPER_STEP = 8 / 255, 2 / 255
PAPER_RADII = (2 / 255, 8 / 255, 16 / 255, 25.5 / 255)
_TARGETS = 9  # of apgd_t, as in AutoAttack


def stages_of(name: str, config: EvaluationConfig) -> tuple[str, ...]:
    """The stages of an attack; each attacks what the ones before it left.

    Args:
        name: out of `NAMES`.
        config: the losses of pgd.

    Returns:
        Names of stages.

    Example:
        >>> stages_of("ensemble", config)  # ("apgd_ce", "apgd_t", "square")
    """
    if name == "pgd":
        return tuple(f"pgd_{loss}" for loss in config.attack.losses)
    return ENSEMBLE if name == "ensemble" else (name,)


def attack_settings(name: str, config: EvaluationConfig) -> dict[str, Any]:
    """What a reader has to know of an attack to repeat it.

    Args:
        name: out of `NAMES`.
        config: the settings.

    Returns:
        Steps, restarts, losses, queries: those that the attack has.
    """
    attack = config.attack
    apgd = {"steps": config.apgd_steps, "restarts": 1}
    settings: dict[str, dict[str, Any]] = {
        "pgd": {"steps": attack.steps, "restarts": attack.restarts, "losses": list(attack.losses)},
        "pgd_paper": {
            "steps": config.paper_steps,
            "restarts": config.paper_restarts,
            "losses": ["ce on exp(log-scores)"],
            "step_size": PAPER_STEP,
        },
        "apgd_ce": {**apgd, "losses": ["ce"]},
        "apgd_t": {**apgd, "losses": ["targeted dlr"], "targets": _TARGETS},
        "square": {"queries": config.square_queries, "restarts": 1, "losses": ["margin"]},
        "ensemble": {"stages": list(ENSEMBLE)},
        "transfer": {"steps": attack.steps, "restarts": attack.restarts, "losses": ["margin"]},
    }
    return settings[name]


def pgd_stages(
    log_scores: LogScores, image_shape: tuple[int, int, int], config: EvaluationConfig
) -> dict[str, Attack]:
    """The stages of `pgd`, one for each loss.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        image_shape: (H, W, C).
        config: the attack. The step keeps its ratio to eps at other radii.

    Returns:
        Name of the stage -> attack.
    """
    attacks = pgd_attacks(log_scores, image_shape, config.attack)
    return {f"pgd_{loss}": attack for loss, attack in attacks.items()}


def ensemble_stages(
    log_scores: LogScores,
    image_shape: tuple[int, int, int],
    num_classes: int,
    config: EvaluationConfig,
) -> dict[str, Attack]:
    """AutoAttack's standard version without FAB: APGD-CE, targeted APGD-DLR, Square.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        image_shape: (H, W, C).
        num_classes: C; as many as nine targets are tried.
        config: norm, steps and queries.

    Returns:
        Name of the stage -> attack.

    Reference:
        Croce and Hein, arXiv 2003.01690.
    """
    norm, steps = config.attack.norm, config.apgd_steps
    cross_entropy = APGD(log_scores, image_shape, norm, "ce", steps)
    targeted = TargetedAPGD(log_scores, image_shape, norm, steps)
    square = Square(log_scores, image_shape, norm, config.square_queries)
    return {
        "apgd_ce": Attack(
            lambda images, labels, eps, seed, attempt, ids: cross_entropy(
                images, labels, eps=eps, seed=seed, example_ids=ids
            )
        ),
        "apgd_t": Attack(
            lambda images, labels, eps, seed, attempt, ids: targeted(
                images, labels, eps=eps, seed=seed, example_ids=ids, target_rank=attempt + 1
            ),
            attempts=min(_TARGETS, num_classes - 1),
        ),
        "square": Attack(
            lambda images, labels, eps, seed, attempt, ids: square(
                images, labels, eps=eps, seed=seed, example_ids=ids
            )
        ),
    }


def paper_stage(
    log_scores: LogScores, image_shape: tuple[int, int, int], config: EvaluationConfig
) -> dict[str, Attack]:
    """The published protocol, which overstates robustness: exp(log-scores) attacked as logits.

    Args:
        log_scores: images `[batch, H, W, C]` -> log-scores `[batch, classes]` of clusters.
        image_shape: (H, W, C).
        config: norm, steps and restarts; the step is always 2/255.

    Returns:
        Name of the stage -> attack.

    Reference:
        Alfarra et al., arXiv 2006.07682; `adv_attack.py` of the official code.
    """

    def published_scores(images: tf.Tensor) -> tf.Tensor:
        return tf.exp(log_scores(images))

    return {
        "pgd_paper": pgd_attack(
            published_scores,
            image_shape,
            "ce",
            lambda eps: tf.fill(tf.shape(eps), PAPER_STEP),
            steps=config.paper_steps,
            restarts=config.paper_restarts,
            norm=config.attack.norm,
        )
    }


def transfer_stage(source: Classifier, config: EvaluationConfig) -> dict[str, Attack]:
    """PGD on the margin of another model.

    Args:
        source: the model that is attacked.
        config: the attack.

    Returns:
        Name of the stage -> attack.
    """
    stages = pgd_stages(source, source.image_shape, config)
    return {"transfer": stages.get("pgd_margin") or next(iter(stages.values()))}


def build_stages(
    log_scores: LogScores,
    image_shape: tuple[int, int, int],
    num_classes: int,
    config: EvaluationConfig,
    source: Classifier | None = None,
) -> dict[str, Attack]:
    """Every stage; none is compiled before it is used.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        image_shape: (H, W, C).
        num_classes: C.
        config: norm, steps, restarts, queries.
        source: of `transfer`; None for none.

    Returns:
        Name of the stage -> attack.
    """
    return {
        **pgd_stages(log_scores, image_shape, config),
        **paper_stage(log_scores, image_shape, config),
        **ensemble_stages(log_scores, image_shape, num_classes, config),
        **(transfer_stage(source, config) if source else {}),
    }
