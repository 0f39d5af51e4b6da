"""Digits with a certificate worth having: a 1-Lipschitz network, trained for its radii.

Source: the radius of Alfarra et al., arXiv 2006.07682, theorem 1; layers and margin of Prach and
Lampert, arXiv 2208.03160, and Trockman and Kolter, arXiv 2104.07167; the hyper-parameters are ours.
Cost: about a minute on 2 CPU cores.

    python -m clustr_tf.train --config=configs/digits_certified.py --workdir=runs/digits_certified
    python -m clustr_tf.certify --workdir=runs/digits_certified --radii=0.25,0.5,1
"""

import ml_collections

from clustr_tf.configs import digits


def get_config() -> ml_collections.ConfigDict:
    """The settings; every field can be overridden as --config.section.field=value."""
    config = digits.get_config("plain")
    config.backbone.name = "lipschitz_mlp"
    config.backbone.width = 256
    config.clustering.clusters_per_class = 1
    config.clustering.clusters_per_batch = 10  # of refreshed centroids only
    config.method = {"name": "clustr_certified", "margin": 0.8, "temperature": 0.1}
    config.optimizer.learning_rate = 2e-2
    config.optimizer.schedule = {"name": "cosine"}
    config.training.epochs = 100
    config.training.batch_size = 128
    config.watch.certified_radius = 0.5
    return config
