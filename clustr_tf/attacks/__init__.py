"""Attacks on functions that map images to log-scores."""

from clustr_tf.attacks.apgd import APGD, apgd
from clustr_tf.attacks.ascent import ascend
from clustr_tf.attacks.attack import Attack, pgd_attack, pgd_attacks
from clustr_tf.attacks.evaluation import RobustnessEvaluator, evaluate_robustness
from clustr_tf.attacks.losses import ATTACK_LOSSES, cross_entropy
from clustr_tf.attacks.norms import NORMS
from clustr_tf.attacks.pgd import PGD, pgd
from clustr_tf.attacks.pgd_config import PGDConfig
from clustr_tf.attacks.result import RobustnessResult
from clustr_tf.attacks.square import Square, square
from clustr_tf.attacks.targeted_apgd import TargetedAPGD

__all__ = [
    "APGD",
    "ATTACK_LOSSES",
    "NORMS",
    "PGD",
    "Attack",
    "PGDConfig",
    "RobustnessEvaluator",
    "RobustnessResult",
    "Square",
    "TargetedAPGD",
    "apgd",
    "ascend",
    "cross_entropy",
    "evaluate_robustness",
    "pgd",
    "pgd_attack",
    "pgd_attacks",
    "square",
]
