"""MNIST proved in l-infinity at 0.3: the clustering head trained on interval bounds.

Source: the schedule of Gowal et al., arXiv 1810.12715, shortened; the clustering head's closed form
is ours, and so are the settings, which are those of the row `ibp_slow` of
benchmarks/robust_comparison.py. Data: an archive or folder of images, see docs/data.md. Cost: 15
epochs of under two minutes each on one CPU core. Expected: docs/results.md.

    python -m clustr_tf.train --config=configs/mnist_ibp.py --workdir=runs/mnist_ibp \
        --config.dataset.data_dir=mnist.tar.xz
    python -m clustr_tf.evaluate --workdir=runs/mnist_ibp
    python -m clustr_tf.certify --workdir=runs/mnist_ibp
"""

import ml_collections

from clustr_tf.configs import robust


def get_config() -> ml_collections.ConfigDict:
    """The settings; every field can be overridden as --config.section.field=value."""
    config = robust.get_config("mnist")
    config.method = {
        "name": "clustr_ibp",  # trains on interval bounds of the log-scores
        "eps": 0.3,  # radius of the worst case at last, in pixels
        "interval_lambda": 1.0,  # weight of the worst case at last
        "likelihood_lambda": 0.003,  # pulls embeddings to their clusters
        "warmup": 0.5,  # share of the training over which it and eps grow from 0
    }
    config.optimizer.learning_rate = 1e-3  # of Adam; with 4e-3 training collapsed in its 7th epoch
    config.training.epochs = 15
    config.training.batch_size = 40
    config.watch.certified_linf = 0.3  # certified accuracy every epoch, by interval bounds
    return config
