"""Training methods, one file each."""

from clustr_tf.objectives.objective import FreeTraining, Objective, StepLosses
from clustr_tf.objectives.registry import OBJECTIVES, build_objective
from clustr_tf.objectives.settings import ObjectiveConfig, has_adversary

__all__ = [
    "OBJECTIVES",
    "FreeTraining",
    "Objective",
    "ObjectiveConfig",
    "StepLosses",
    "build_objective",
    "has_adversary",
]
