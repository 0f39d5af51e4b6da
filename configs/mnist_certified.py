"""MNIST with a certificate worth having, from your own copy of the images.

Source: as configs/digits_certified.py. The variants are trained for the radii at which the
literature compares (GloRo, Leino et al., arXiv 2102.08452): `:large` for l2 1.58, `:small` for l2
0.3. Cost: about 20 minutes on 2 CPU cores. The archive or folder has train/CLASS/*.png and
test/CLASS/*.png.

    python -m clustr_tf.train --config=configs/mnist_certified.py:large --workdir=runs/mnist \
        --config.dataset.data_dir=mnist.tar.xz
    python -m clustr_tf.certify --workdir=runs/mnist --radii=0.3,1.58
"""

import ml_collections

from clustr_tf.configs import digits_certified

# Radius of the watch, margin and temperature.
_VARIANTS = {"large": (1.58, 2.0, 0.4), "small": (0.3, 0.7, 0.15)}


def get_config(variant: str = "large") -> ml_collections.ConfigDict:
    """The settings; every field can be overridden as --config.section.field=value.

    Args:
        variant: "large" or "small", what follows a colon behind the file's name.
    """
    if variant not in _VARIANTS:
        raise ValueError(f"variant must be one of {sorted(_VARIANTS)}. Received: {variant!r}")
    config = digits_certified.get_config()
    radius, margin, temperature = _VARIANTS[variant]
    config.dataset.name = "image_folder"
    config.dataset.validation_examples = 1000
    config.backbone.width = 512
    config.method.margin = margin
    config.method.temperature = temperature
    config.optimizer.learning_rate = 3e-3
    config.training.epochs = 15
    config.training.batch_size = 256
    config.watch.certified_radius = radius
    config.evaluation.examples = 10000
    config.evaluation.batch_size = 500
    return config
