"""Attacks on functions that map images to log-scores."""

from clustr_tf.attacks.apgd import APGD, TargetedAPGD, apgd
from clustr_tf.attacks.attack import Attack, pgd_attack, pgd_attacks
from clustr_tf.attacks.balls import NORMS
from clustr_tf.attacks.evaluator import RobustnessEvaluator, RobustnessResult, evaluate_robustness
from clustr_tf.attacks.losses import ATTACK_LOSSES
from clustr_tf.attacks.pgd import PGD, CompiledPGD, ascend, pgd
from clustr_tf.attacks.square import Square, square

__all__ = [
    "APGD",
    "ATTACK_LOSSES",
    "NORMS",
    "PGD",
    "Attack",
    "CompiledPGD",
    "RobustnessEvaluator",
    "RobustnessResult",
    "Square",
    "TargetedAPGD",
    "apgd",
    "ascend",
    "evaluate_robustness",
    "pgd",
    "pgd_attack",
    "pgd_attacks",
    "square",
]
