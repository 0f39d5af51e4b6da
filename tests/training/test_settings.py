"""Settings refuse what cannot work, in one line."""

import pytest

from clustr_tf.attacks import PGDConfig
from clustr_tf.training.building import learning_rate
from clustr_tf.training.settings import (
    ClusteringConfig,
    OptimizerConfig,
    TrainingConfig,
    WatchConfig,
)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (ClusteringConfig, {"clusters_per_class": 0}),
        (ClusteringConfig, {"clusters_per_batch": 1}),
        (ClusteringConfig, {"examples_per_cluster": 1}),
        (ClusteringConfig, {"nearest": 0}),
        (ClusteringConfig, {"kmeans_starts": 0}),
        (ClusteringConfig, {"kmeans_iterations": 0}),
        (ClusteringConfig, {"temperature": 0.0}),
        (OptimizerConfig, {"learning_rate": 0.0}),
        (OptimizerConfig, {"learning_rate": float("nan")}),
        (OptimizerConfig, {"decay": 0.0}),
        (OptimizerConfig, {"decay": 1.5}),
        (OptimizerConfig, {"milestones": (60, 30)}),
        (OptimizerConfig, {"milestones": (0, 30)}),
        (TrainingConfig, {"epochs": 0}),
        (TrainingConfig, {"seed": -1}),
        (TrainingConfig, {"seed": 2**31}),
        (TrainingConfig, {"steps_per_epoch": 0}),
        (TrainingConfig, {"strategy": "tpu"}),
        (TrainingConfig, {"precision": "float16"}),
        (TrainingConfig, {"checkpoint": "best_test"}),
        (TrainingConfig, {"checkpoint_minutes": 0.0}),
        (TrainingConfig, {"batch_size": 0}),
        (WatchConfig, {"collapse": 1.0}),
    ],
)
def test_out_of_range_values_are_refused_by_name(section, values):
    good = {
        ClusteringConfig: {
            "clusters_per_class": 2,
            "clusters_per_batch": 12,
            "examples_per_cluster": 20,
        },
        OptimizerConfig: {"learning_rate": 1e-4},
        TrainingConfig: {"epochs": 90},
        WatchConfig: {"attack": PGDConfig(eps=0.1, step_size=0.025, steps=10)},
    }[section]
    section(**good)
    (name,) = values
    with pytest.raises(ValueError, match=f"^{name} must be .* Received: "):
        section(**{**good, **values})


def test_published_learning_rates():
    """1e-4, a tenth after epochs 30 and 60: epochs 0-29, 30-59, 60-89."""
    config = OptimizerConfig(1e-4, milestones=(30, 60), decay=0.1)
    for epoch, expected in [(0, 1e-4), (29, 1e-4), (30, 1e-5), (59, 1e-5), (60, 1e-6), (89, 1e-6)]:
        assert learning_rate(config, epoch, 90) == pytest.approx(expected)
