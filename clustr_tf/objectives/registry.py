"""The training methods by name."""

from collections.abc import Callable, Set
from dataclasses import dataclass, fields

from clustr_tf.objectives.clustr import clustr
from clustr_tf.objectives.clustr_at import clustr_at
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
from clustr_tf.objectives.settings import ObjectiveSettings
from clustr_tf.objectives.trades import trades

_STEPS = frozenset({"step_size", "standardised_steps", "steps"})
_WARMUP = frozenset({"warmup"})
_REPLAYS = frozenset({"replays"})
_XENT = frozenset({"xent_lambda"})
_CONSISTENCY = frozenset({"consistency", "consistency_lambda"})
_CLUSTERED = frozenset({"centroids", "magnet_lambda"})
_LIKELIHOOD = frozenset({"likelihood_lambda"})
# Fields that config files may set for all methods, whether a method uses them or not.
_COMMON = frozenset({"name", "alpha", "epsilon", "nearest", "eps"})


@dataclass(frozen=True)
class Method:
    """An entry of the registry.

    Attributes:
        build: the method's constants -> its objective.
        options: the fields of its settings that it takes beside those of all methods; to set
            another one is a mistake.
    """

    build: Callable[[ObjectiveSettings], Objective]
    options: Set[str] = frozenset()


OBJECTIVES: dict[str, Method] = {
    "clustr": Method(clustr, _XENT),
    "clustr_qtrades": Method(clustr_qtrades, _XENT | _CONSISTENCY | _STEPS | _WARMUP),
    "clustr_trades": Method(clustr_trades, _XENT | _CONSISTENCY | _STEPS | _WARMUP),
    "clustr_free": Method(clustr_free, _XENT | _REPLAYS | _WARMUP),
    "clustr_certified": Method(clustr_certified, _CLUSTERED | {"margin", "temperature"}),
    "clustr_ibp": Method(clustr_ibp, _CLUSTERED | _LIKELIHOOD | _WARMUP | {"interval_lambda"}),
    "clustr_robust": Method(
        clustr_robust, _CLUSTERED | _LIKELIHOOD | _STEPS | _WARMUP | {"consistency_lambda"}
    ),
    "clustr_at": Method(clustr_at, _STEPS | _WARMUP | _LIKELIHOOD | {"centroids"}),
    "nominal": Method(nominal),
    "pgd_at": Method(pgd_at, _STEPS | _WARMUP),
    "fast_at": Method(fast_at, _STEPS | _WARMUP),
    "free_at": Method(free_at, _REPLAYS | _WARMUP),
    "trades": Method(trades, _STEPS | _WARMUP | {"consistency_lambda"}),
}


@dataclass(frozen=True)
class ObjectiveConfig(ObjectiveSettings):
    """Which training method and its constants; None is the method's own value.

    Raises:
        ValueError: if the method is unknown, does not take an option that is set, or a constant is
            out of range.
    """

    def __post_init__(self) -> None:
        if self.name not in OBJECTIVES:
            raise ValueError(f"name must be one of {sorted(OBJECTIVES)}. Received: {self.name!r}")
        for field in fields(self):
            value, options = getattr(self, field.name), OBJECTIVES[self.name].options
            if field.name not in _COMMON | options and value != field.default:
                raise ValueError(
                    f"{field.name} must be {field.default}: {self.name} has no such option. "
                    f"Received: {value!r}"
                )
        super().__post_init__()


def build_objective(config: ObjectiveConfig) -> Objective:
    """The configured training method.

    Args:
        config: its name and constants.

    Returns:
        The objective.

    Example:
        >>> build_objective(ObjectiveConfig(name="clustr", alpha=12.5))
    """
    return OBJECTIVES[config.name].build(config)


def has_adversary(config: ObjectiveConfig) -> bool:
    """Whether a method trains on attacked images, once or replayed.

    Args:
        config: names the method.

    Returns:
        False for `clustr`, `clustr_certified`, `clustr_ibp` and `nominal`.
    """
    return bool(OBJECTIVES[config.name].options & (_STEPS | _REPLAYS))
