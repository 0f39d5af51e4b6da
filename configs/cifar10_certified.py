"""CIFAR-10 with a certificate worth having: a small 1-Lipschitz network.

Source: as configs/digits_certified.py. Cost: under 40 minutes on 2 CPU cores; docs/results.md has
the curve of accuracy against time and what to change on a GPU.

    python -m clustr_tf.train --config=configs/cifar10_certified.py --workdir=runs/cifar10_certified
    python -m clustr_tf.certify --workdir=runs/cifar10_certified --radii=36/255,72/255,108/255
"""

import ml_collections

from clustr_tf.configs import digits_certified


def get_config() -> ml_collections.ConfigDict:
    """The settings; every field can be overridden as --config.section.field=value."""
    config = digits_certified.get_config()
    config.dataset.name = "cifar10"
    config.dataset.augmentation = "crop_and_flip"
    config.dataset.validation_examples = 500
    config.backbone.name = "lipschitz_resnet"
    config.backbone.width = 16
    config.method.margin = 0.3
    config.optimizer.learning_rate = 3e-3
    config.training.epochs = 20
    config.training.batch_size = 256
    config.watch.attack.eps = 8 / 255
    config.watch.attack.step_size = 2 / 255
    config.watch.certified_radius = 36 / 255
    config.evaluation.attack.eps = 8 / 255
    config.evaluation.attack.step_size = 2 / 255
    config.evaluation.examples = 1000
    config.evaluation.batch_size = 250
    return config
