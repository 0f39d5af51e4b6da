"""A search on digits: which training, how sharp an adversary, which rate keeps most images right.

Source: the ranges are ours. Cost: 20 trials of 40 epochs, about 15 minutes on 2 CPU cores.

    python -m clustr_tf.tune --config=configs/digits_search.py --workdir=runs/search
"""

import ml_collections

from clustr_tf.configs import digits

_ROBUST = {"field": "method.name", "values": ("clustr_robust",)}
_WITH_STEPS = {"field": "method.name", "values": ("clustr_robust", "pgd_at", "trades")}


def get_config() -> ml_collections.ConfigDict:
    """The settings of every trial, and `search`."""
    config = digits.get_config("plain")
    config.dataset.validation_examples = 337  # a trial is judged on them alone
    config.method = {"name": "clustr_robust", "eps": 0.1}  # of all methods with an adversary
    config.optimizer.schedule = {"name": "cosine"}
    config.training.checkpoint = "best_pgd"
    config.search = {
        "algorithm": "bayesian",  # random, bayesian, hyperband
        "objective": "val_pgd_accuracy",  # or a sum such as 0.5*val_accuracy + 0.5*...
        "trials": 20,  # at most
        "seed": 0,  # of what is drawn
        "factor": 3,  # hyperband: one trial in so many is trained so many times as long
        "space": {  # low and high, or choices; when: only with these values of another field
            "method": {
                "name": {"choices": ("clustr", "clustr_free", *_WITH_STEPS["values"])},
                "steps": {"low": 1, "high": 5, "when": _WITH_STEPS},
                "step_size": {"low": 0.02, "high": 0.1, "when": _WITH_STEPS},
                "likelihood_lambda": {"low": 0.0, "high": 0.3, "when": _ROBUST},
            },
            "clustering": {
                "clusters_per_class": {"choices": (1, 2, 4)},
                "temperature": {"low": 1.0, "high": 300.0, "sampling": "log", "when": _ROBUST},
            },
            "optimizer": {"learning_rate": {"low": 3e-4, "high": 1e-2, "sampling": "log"}},
        },
    }
    return config
