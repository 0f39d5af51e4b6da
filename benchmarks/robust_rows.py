"""What benchmarks/robust_comparison.py compares."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.bare_step import passes_of
from clustr_tf.methods import METHODS


@dataclass(frozen=True)
class Row:
    """A training method and its settings.

    Attributes:
        method: its name.
        overrides: config fields without the leading `config.`.
        steps: of the adversary, each as long as its share of 1.5 eps; None: the method's own.
    """

    method: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None

    @property
    def cost(self) -> int:
        """Passes that an epoch makes over the training images.

        One forward and backward pass, for weights or for pixels, counts 1. The embedding pass
        that ends every epoch and what is measured there are not counted.
        """
        steps = {} if self.steps is None else {"steps": self.steps}
        return passes_of(METHODS[self.method](**steps)).cost

    def settings(self, eps: float) -> dict[str, Any]:
        """The overrides with the method and its adversary for a ball of radius eps, in pixels."""
        settings = {"method.name": self.method, **self.overrides}
        if self.steps is not None:
            settings["method.steps"] = self.steps
            settings["method.step_size"] = round(_REACH * eps / self.steps, 6)
        return settings

    def epochs(self, passes: int) -> int:
        """As many epochs as so many passes allow, at least one."""
        return max(1, passes // self.cost)


_REACH = 1.5  # of eps: what all steps of a shorter adversary together come to

# Without an adversary there is no robustness to choose an epoch by.
_LAST = {"training.checkpoint": "last", "watch.attack.steps": 1}
# sigma^2 is that of a network whose moving averages are not those of its batches yet: too small.
_LEARNED = {"clustering.temperature": 100.0}
_CLOSE = _LEARNED | {"method.likelihood_lambda": 0.003}
_NEAR = _LEARNED | {"method.likelihood_lambda": 0.3}
_BALL = {"backbone.unit_ball": True}
_REFRESHED = {"method.centroids": "refreshed"}
_K1 = {"clustering.clusters_per_class": 1}
_SMALL_BATCHES = {"training.batch_size": 40}
_SMALL_NEIGHBOURHOODS = {"clustering.clusters_per_batch": 4}  # of ten examples each
_FAST = {"optimizer.learning_rate": 4e-3}
_BOXES = {
    **_SMALL_BATCHES,
    **_FAST,
    "method.interval_lambda": 1.0,
    "method.likelihood_lambda": 0.003,
}
_PUBLISHED = {"method.epsilon": 1e-8, "method.nearest": 10}

ROWS = {
    "nominal": Row("nominal", _LAST),
    "clustr": Row("clustr", _LAST),
    "clustr_qtrades": Row("clustr_qtrades", _PUBLISHED),
    "clustr_trades": Row("clustr_trades"),
    "clustr_free": Row("clustr_free"),
    "pgd_at": Row("pgd_at"),
    "fast_at": Row("fast_at"),
    "free_at": Row("free_at"),
    "trades": Row("trades"),
    "clustr_robust": Row("clustr_robust", _NEAR),
    "clustr_ibp": Row("clustr_ibp", _BOXES),
    "clustr_at": Row("clustr_at", _CLOSE),
    # The same adversary and epochs on a dense layer: what is left is clustering's own.
    "trades_3": Row("trades", steps=3),
    "pgd_at_3": Row("pgd_at", steps=3),
    "pgd_at_4": Row("pgd_at", steps=4),
    "clustr_at_4": Row("clustr_at", _CLOSE, steps=4),
    # Ablation: fewer steps of the adversary and more epochs.
    "robust_1": Row("clustr_robust", _NEAR, steps=1),
    "robust_2": Row("clustr_robust", _NEAR, steps=2),
    "trades_1": Row("trades", steps=1),
    "trades_2": Row("trades", steps=2),
    # Ablation: how sharp the log-scores of learned centroids begin.
    **{
        f"robust_t{factor}": Row("clustr_robust", {"clustering.temperature": factor})
        for factor in (1, 10, 1000)
    },
    # Ablation: K, magnet loss of adversarial embeddings, k-means.
    "robust_k1": Row("clustr_robust", _NEAR | _K1),
    "robust_k4": Row("clustr_robust", _NEAR | {"clustering.clusters_per_class": 4}),
    # Ablation: how near embeddings are kept to their clusters.
    **{
        f"robust_nll_{weight}": Row(
            "clustr_robust", _LEARNED | {"method.likelihood_lambda": weight}
        )
        for weight in (0.0, 0.03, 0.1, 1.0)
    },
    "robust_magnet_0.02": Row("clustr_robust", _LEARNED | {"method.magnet_lambda": 0.02}),
    "robust_magnet_0.1": Row("clustr_robust", _LEARNED | {"method.magnet_lambda": 0.1}),
    "robust_magnet_0.5": Row("clustr_robust", _LEARNED | {"method.magnet_lambda": 0.5}),
    "robust_refreshed": Row("clustr_robust", _REFRESHED),
    "robust_refreshed_magnet_0.1": Row("clustr_robust", _REFRESHED | {"method.magnet_lambda": 0.1}),
    # Ablation: bounds instead of attacks.
    "ibp_k1": Row("clustr_ibp", _BOXES | _K1),
    "ibp_slow": Row("clustr_ibp", _BOXES | {"optimizer.learning_rate": 1e-3}),
    "ibp_120": Row("clustr_ibp", _BOXES | {"training.batch_size": 120}),
    "ibp_half": Row("clustr_ibp", _BOXES | {"method.interval_lambda": 0.5}),
    **{
        f"ibp_nll_{weight}": Row("clustr_ibp", _BOXES | {"method.likelihood_lambda": weight})
        for weight in (0.0, 0.001, 0.005)
    },
    # The same smaller batches, and so more steps of the optimiser, and its rate for the others.
    "trades_3_40": Row("trades", _SMALL_BATCHES, steps=3),
    "free_at_40": Row("free_at", _SMALL_BATCHES),
    "trades_3_40_fast": Row("trades", _SMALL_BATCHES | _FAST, steps=3),
    "free_at_40_fast": Row("free_at", _SMALL_BATCHES | _FAST),
    "fast_at_40_fast": Row("fast_at", _SMALL_BATCHES | _FAST),
    "clustr_at_40_fast": Row("clustr_at", _CLOSE | _SMALL_BATCHES | _FAST),
    # Embeddings in the unit ball, of clusters and of a dense layer.
    "clustr_at_ball_4": Row("clustr_at", _CLOSE | _BALL, steps=4),
    "clustr_at_ball_40_fast": Row("clustr_at", _CLOSE | _BALL | _SMALL_BATCHES | _FAST),
    "fast_at_ball_40_fast": Row("fast_at", _BALL | _SMALL_BATCHES | _FAST),
    "robust_ball_40_fast": Row("clustr_robust", _CLOSE | _BALL | _SMALL_BATCHES | _FAST),
    "clustr_free_40": Row("clustr_free", _SMALL_NEIGHBOURHOODS),
    "clustr_free_40_fast": Row("clustr_free", _SMALL_NEIGHBOURHOODS | _FAST),
    "clustr_free_ball": Row("clustr_free", _BALL),
    "clustr_free_ball_40": Row("clustr_free", _BALL | _SMALL_NEIGHBOURHOODS),
    "clustr_free_ball_40_fast": Row("clustr_free", _BALL | _SMALL_NEIGHBOURHOODS | _FAST),
    "free_at_ball_40_fast": Row("free_at", _BALL | _SMALL_BATCHES | _FAST),
}
