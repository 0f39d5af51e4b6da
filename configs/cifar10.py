"""ClusTR on CIFAR-10 with ResNet-18 and the published hyper-parameters.

Source: Alfarra et al., arXiv 2006.07682, and the official PyTorch code: K 2, M 12, D 20, alpha
12.5, L 10 in training and 20 in evaluation, Adam 1e-4, rate / 10 after epochs 30 and 60, 90 epochs.
Data: CIFAR-10 through TensorFlow Datasets (fetched once, 163 MiB). Cost: made for a GPU; on 2 CPU
cores one step takes seconds and an epoch has 208.

    python -m clustr_tf.train --config=configs/cifar10.py --workdir=runs/cifar10
    python -m clustr_tf.train --config=configs/cifar10.py:published --workdir=runs/published

Variants: `default` is the log-domain magnet loss; `published` has the arithmetic of the official
code (epsilon 1e-8), with its capped loss and dead gradients, for comparison; `thin` is a narrow
ResNet-18 (width 16) for a first look on a CPU.
"""

import ml_collections

_VARIANTS = ("default", "published", "thin")


def get_config(variant: str = "default") -> ml_collections.ConfigDict:
    """The settings of a variant; a field is overridden as --config.section.field=value."""
    if variant not in _VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(_VARIANTS)}. Received: {variant!r}")
    return ml_collections.ConfigDict(
        {  # what is not said here has the default that docs/api/settings.md lists
            "dataset": {
                "name": "cifar10",  # 50,000 training and 10,000 test images of 32x32x3
                "augmentation": "crop_and_flip",  # the published one: crop with padding 4, flip
                "validation_examples": 250,  # training images held out for the watch
            },
            "backbone": {
                "name": "resnet18",  # a key of BACKBONES
                "width": 16 if variant == "thin" else 64,  # 64 is the published network
                "unit_ball": False,  # True: embeddings are projected onto the unit ball
            },
            "clustering": {
                "clusters_per_class": 2,  # K
                "clusters_per_batch": 12,  # M
                "examples_per_cluster": 20,  # D; the batch has 240 images
                "nearest": 20,  # L in evaluation: all clusters
                "kmeans_starts": 1,  # k-means++ starts per class
                "kmeans_iterations": 20,  # Lloyd iterations at most
            },
            "method": {
                "name": "clustr",  # a key of METHODS
                "alpha": 12.5,  # separation gap
                "epsilon": 1e-8 if variant == "published" else 0.0,  # 0: the log domain
                "nearest": 10,  # L inside losses that use log-scores
            },
            "optimizer": {
                "name": "adam",  # any Keras optimizer, with its own fields
                "learning_rate": 1e-4,  # of the first epoch
                "schedule": {  # the published one
                    "name": "milestones",  # or constant, cosine
                    "milestones": (30, 60),  # epochs after which the rate drops
                    "decay": 0.1,  # factor of each drop
                },
            },
            "training": {
                "epochs": 90,  # clusters are refreshed after each
            },
            "watch": {  # after every epoch, on the held-out training images
                "attack": {
                    "eps": 8 / 255,  # radius in pixels
                    "step_size": 2 / 255,  # per step, in pixels
                    "steps": 10,  # gradient steps
                    "losses": ("margin",),  # an image is robust if every loss fails
                },
            },
            "evaluation": {
                "attack": {
                    "eps": 8 / 255,  # radius in pixels
                    "step_size": 2 / 255,  # per step, in pixels
                    "steps": 20,  # gradient steps
                },
                "examples": 1000,  # test images that are attacked and certified
            },
        }
    )
