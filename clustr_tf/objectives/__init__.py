"""Training methods, one file each."""

from clustr_tf.objectives.objective import FreeTraining, Objective, StepLosses
from clustr_tf.objectives.registry import (
    OBJECTIVES,
    Method,
    ObjectiveConfig,
    build_objective,
    has_adversary,
)
from clustr_tf.objectives.settings import ObjectiveSettings

__all__ = [
    "OBJECTIVES",
    "FreeTraining",
    "Method",
    "Objective",
    "ObjectiveConfig",
    "ObjectiveSettings",
    "StepLosses",
    "build_objective",
    "has_adversary",
]
