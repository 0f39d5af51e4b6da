"""Training methods, one file each."""

from clustr_tf.objectives.objective import Objective, StepLosses
from clustr_tf.objectives.registry import OBJECTIVES, ObjectiveConfig, build_objective

__all__ = ["OBJECTIVES", "Objective", "ObjectiveConfig", "StepLosses", "build_objective"]
