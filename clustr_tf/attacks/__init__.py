"""Attacks on functions that map images to log-scores."""

from clustr_tf.attacks.evaluation import RobustnessResult, evaluate_robustness
from clustr_tf.attacks.losses import ATTACK_LOSSES
from clustr_tf.attacks.pgd import PGD, PGDConfig, pgd

__all__ = ["ATTACK_LOSSES", "PGD", "PGDConfig", "RobustnessResult", "evaluate_robustness", "pgd"]
