"""ClusTR trained on interval bounds on scikit-learn's digits: proofs for l-infinity eps 0.1.

Source: the schedule of Gowal et al., arXiv 1810.12715, on the clustering head; the hyper-parameters
are ours. Nothing is downloaded.

    python -m clustr_tf.train --config=configs/digits_ibp.py --workdir=runs/digits_ibp
    python -m clustr_tf.certify --workdir=runs/digits_ibp
"""

import ml_collections

from clustr_tf.configs import digits


def get_config() -> ml_collections.ConfigDict:
    """The settings; every field can be overridden as --config.section.field=value."""
    config = digits.get_config("plain")
    config.backbone.width = 16  # channels of the first convolution
    config.method = {
        "name": "clustr_ibp",  # trains on interval bounds of the log-scores
        "eps": 0.1,  # radius of the worst case at last, in pixels
        "interval_lambda": 1.0,  # weight of the worst case at last
        "likelihood_lambda": 0.003,  # pulls embeddings to their clusters
        "warmup": 0.5,  # share of the training over which both grow from 0
    }
    config.optimizer.learning_rate = 4e-3  # of Adam; with 1e-3 a few per cent less is certified
    config.optimizer.schedule = {"name": "cosine"}
    config.training.epochs = 40
    config.training.batch_size = 40
    config.training.steps_per_epoch = 100  # 4,000 in all; with 440 the worst case is never learned
    config.watch.certified_linf = 0.1  # certified accuracy every epoch, by interval bounds
    return config
