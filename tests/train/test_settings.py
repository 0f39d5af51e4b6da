"""Settings refuse what cannot work, in one line."""

import pytest

from clustr_tf.attacks import PGD
from clustr_tf.train.callbacks.watch import Watch
from clustr_tf.train.settings import Clustering, Cosine, Milestones, Training


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (Clustering, {"clusters_per_batch": 1}),
        (Clustering, {"examples_per_cluster": 1}),
        (Clustering, {"kmeans_starts": 0}),
        (Clustering, {"kmeans_iterations": 0}),
        (Clustering, {"temperature": 0.0}),
        (Milestones, {"decay": 0.0}),
        (Milestones, {"decay": 1.5}),
        (Milestones, {"milestones": (60, 30)}),
        (Milestones, {"milestones": (0, 30)}),
        (Training, {"epochs": 0}),
        (Training, {"seed": -1}),
        (Training, {"seed": 2**31}),
        (Training, {"steps_per_epoch": 0}),
        (Training, {"strategy": "tpu"}),
        (Training, {"precision": "float16"}),
        (Training, {"checkpoint": "best_test"}),
        (Training, {"checkpoint_minutes": 0.0}),
        (Training, {"batch_size": 0}),
        (Watch, {"collapse": 1.0}),
    ],
)
def test_out_of_range_values_are_refused_by_name(section, values):
    good = {
        Clustering: {},
        Milestones: {},
        Training: {"epochs": 90},
        Watch: {"attack": PGD(eps=0.1, step_size=0.025, steps=10)},
    }[section]
    section(**good)
    (name,) = values
    with pytest.raises(ValueError, match=f"^{name} must be .* Received: "):
        section(**{**good, **values})


def test_published_learning_rates():
    """1e-4, a tenth after epochs 30 and 60: epochs 0-29, 30-59, 60-89."""
    schedule = Milestones((30, 60), decay=0.1)
    for epoch, expected in [(0, 1e-4), (29, 1e-4), (30, 1e-5), (59, 1e-5), (60, 1e-6), (89, 1e-6)]:
        assert 1e-4 * schedule.factor(epoch, 90) == pytest.approx(expected)


def test_a_cosine_falls_from_the_rate_to_nothing():
    """Cos 0 = 1, cos 60 degrees = 1/2, cos 90 degrees = 0; the next epoch would have 0."""
    factors = [Cosine().factor(epoch, 6) for epoch in (0, 2, 3, 6)]
    assert factors == pytest.approx([1, 0.75, 0.5, 0])
