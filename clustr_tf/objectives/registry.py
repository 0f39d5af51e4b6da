"""The training methods by name."""

from collections.abc import Callable

from clustr_tf.objectives.clustr import clustr
from clustr_tf.objectives.clustr_certified import clustr_certified
from clustr_tf.objectives.clustr_free import clustr_free
from clustr_tf.objectives.clustr_ibp import clustr_ibp
from clustr_tf.objectives.clustr_qtrades import clustr_qtrades
from clustr_tf.objectives.clustr_robust import clustr_robust
from clustr_tf.objectives.clustr_trades import clustr_trades
from clustr_tf.objectives.fast_at import fast_at
from clustr_tf.objectives.free_at import free_at
from clustr_tf.objectives.nominal import nominal
from clustr_tf.objectives.objective import Objective
from clustr_tf.objectives.pgd_at import pgd_at
from clustr_tf.objectives.settings import ObjectiveConfig
from clustr_tf.objectives.trades import trades

OBJECTIVES: dict[str, Callable[[ObjectiveConfig], Objective]] = {
    "clustr": clustr,
    "clustr_qtrades": clustr_qtrades,
    "clustr_trades": clustr_trades,
    "clustr_free": clustr_free,
    "clustr_certified": clustr_certified,
    "clustr_ibp": clustr_ibp,
    "clustr_robust": clustr_robust,
    "nominal": nominal,
    "pgd_at": pgd_at,
    "fast_at": fast_at,
    "free_at": free_at,
    "trades": trades,
}


def build_objective(config: ObjectiveConfig) -> Objective:
    """The configured training method.

    Args:
        config: its name and constants.

    Returns:
        The objective.

    Example:
        >>> build_objective(ObjectiveConfig(name="clustr", alpha=12.5))
    """
    return OBJECTIVES[config.name](config)
