"""MNIST that stays standing in l-infinity at 0.3: clusters by adversarial training.

Source: the method of Madry et al., arXiv 1706.06083, on log-scores of clusters in the unit ball;
the settings are ours, those of the row `clustr_at_ball_4` of benchmarks/robust_comparison.py. Data:
an archive or folder of images, see docs/data.md. Cost: nine epochs of about two minutes each on one
CPU core. Expected: docs/results.md.

    python -m clustr_tf.train --config=configs/mnist_at.py --workdir=runs/mnist_at \
        --config.dataset.data_dir=mnist.tar.xz
    python -m clustr_tf.evaluate --workdir=runs/mnist_at
"""

import ml_collections

from clustr_tf.configs import robust


def get_config() -> ml_collections.ConfigDict:
    """The settings; every field can be overridden as --config.section.field=value."""
    config = robust.get_config("mnist")
    config.backbone.unit_ball = True  # what is attacked through exp-scores falls as well
    config.method = {
        "name": "clustr_at",  # trains on attacked images, against log-scores of clusters
        "eps": 0.33,  # a little more than the 0.3 that is attacked afterwards
        "steps": 4,  # of the adversary
        "step_size": 0.1125,  # in pixels
        "likelihood_lambda": 0.003,  # pulls embeddings to their clusters
        "warmup": 0.5,  # share of the training over which eps grows from 0
    }
    config.clustering.temperature = 100.0  # sigma^2 of an untrained network is far too small
    config.training.epochs = 9
    config.training.batch_size = 60
    return config
