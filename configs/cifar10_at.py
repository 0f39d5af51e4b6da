"""CIFAR-10 in l-infinity at 8/255: clusters in the unit ball by adversarial training.

Source: the method of Madry et al., arXiv 1706.06083, on log-scores of clusters in the unit ball;
the settings are ours. Variants: `default` is ResNet-18 and `wide` WRN-28-10, both with ten steps
of eps / 4 and 100 epochs of CIFAR-10 from TensorFlow Datasets: made for GPUs and not run yet, see
docs/robust_training.md for what is expected. `thin` is the row `clustr_at_ball_40_fast` of
benchmarks/robust_comparison.py with temperature 10: ResNet-18 of width 8, one step, eight epochs of
two to four minutes each on one CPU core; its data are an archive or folder of images, see
docs/data.md, its figures in docs/results.md.

    python -m clustr_tf.train --config=configs/cifar10_at.py --workdir=runs/cifar10_at
    python -m clustr_tf.train --config=configs/cifar10_at.py:thin --workdir=runs/cifar10_at_thin \
        --config.dataset.data_dir=cifar10_jpeg.tar.xz
    python -m clustr_tf.evaluate --workdir=runs/cifar10_at_thin
"""

import ml_collections

from clustr_tf.configs import robust

_VARIANTS = ("default", "wide", "thin")


def get_config(variant: str = "default") -> ml_collections.ConfigDict:
    """The settings of a variant; a field is overridden as --config.section.field=value."""
    if variant not in _VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(_VARIANTS)}. Received: {variant!r}")
    config = robust.get_config("cifar10")
    config.backbone.unit_ball = True  # what is attacked through exp-scores falls as well
    config.clustering.temperature = 10.0  # sigma^2 of an untrained network is far too small
    config.method.likelihood_lambda = 0.003  # pulls embeddings to their clusters
    if variant == "thin":
        config.optimizer.learning_rate = 4e-3  # of Adam
        config.training.batch_size = 40
        config.training.epochs = 8
        return config
    config.dataset.name = "cifar10"  # from TensorFlow Datasets
    config.dataset.validation_examples = 1000  # training images that choose the epoch
    config.backbone.name = "wide_resnet28" if variant == "wide" else "resnet18"
    config.backbone.width = 160 if variant == "wide" else 64  # channels of the first stage
    config.method.steps = 10  # of the adversary
    config.method.step_size = config.method.eps / 4  # in pixels
    config.training.batch_size = 128
    config.training.epochs = 100
    config.evaluation.examples = 10000
    return config
