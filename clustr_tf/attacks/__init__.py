"""Attacks on functions that map images to log-scores."""

from clustr_tf.attacks.apgd import APGD, TargetedAPGD, apgd
from clustr_tf.attacks.attack import Attack, pgd_attack, pgd_attacks
from clustr_tf.attacks.balls import NORMS
from clustr_tf.attacks.evaluator import RobustnessEvaluator, RobustnessResult, evaluate_robustness
from clustr_tf.attacks.fab import FAB, TargetedFAB, closest_adversarial, fab
from clustr_tf.attacks.losses import ATTACK_LOSSES
from clustr_tf.attacks.pgd import PGD, CompiledPGD, ascend, pgd
from clustr_tf.attacks.square import Square, square

__all__ = [
    "APGD",
    "ATTACK_LOSSES",
    "FAB",
    "NORMS",
    "PGD",
    "Attack",
    "CompiledPGD",
    "RobustnessEvaluator",
    "RobustnessResult",
    "Square",
    "TargetedAPGD",
    "TargetedFAB",
    "apgd",
    "ascend",
    "closest_adversarial",
    "evaluate_robustness",
    "fab",
    "pgd",
    "pgd_attack",
    "pgd_attacks",
    "square",
]
