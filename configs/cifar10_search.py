"""A search on CIFAR-10 with ResNet-18, for GPUs: Hyperband over adversarial trainings.

Source: the ranges are ours. Cost: made for GPUs and not run yet; a bracket of Hyperband trains
about as long as ten whole trainings of 81 epochs. Several machines share the folder:

    python -m clustr_tf.tune --config=configs/cifar10_search.py --workdir=runs/search
"""

import ml_collections

from clustr_tf.configs import cifar10_at

_CLUSTERED = {"field": "method.name", "values": ("clustr_at", "clustr_robust")}
_CONSISTENT = {"field": "method.name", "values": ("clustr_robust", "trades")}


def get_config() -> ml_collections.ConfigDict:
    """The settings of every trial, and `search`."""
    config = cifar10_at.get_config()
    config.training.epochs = 81  # of a trial that came through every round
    config.search = {
        "algorithm": "hyperband",  # random, bayesian, hyperband
        "objective": "val_pgd_accuracy + 0.25*val_accuracy",  # a trade-off
        "trials": 200,  # at most
        "seed": 0,  # of what is drawn
        "factor": 3,  # one trial in so many is trained so many times as long
        "space": {  # low and high, or choices; when: only with these values of another field
            "method": {
                "name": {"choices": ("clustr_at", "clustr_robust", "pgd_at", "trades")},
                "consistency_lambda": {"low": 2.0, "high": 12.0, "when": _CONSISTENT},
                "likelihood_lambda": {"low": 0.0, "high": 0.03, "when": _CLUSTERED},
                "steps": {"low": 6, "high": 10},  # of eps / 4: they reach the rim
            },
            "clustering": {"clusters_per_class": {"choices": (1, 2, 4), "when": _CLUSTERED}},
            "optimizer": {"learning_rate": {"low": 3e-4, "high": 3e-3, "sampling": "log"}},
        },
    }
    return config
