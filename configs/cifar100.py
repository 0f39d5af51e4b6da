"""ClusTR on CIFAR-100 with ResNet-18 and the hyper-parameters of the official code.

Source: Alfarra et al., arXiv 2006.07682, and the official PyTorch code, whose defaults are the same
for all data sets (K 2, M 12, D 20, alpha 12.5, L 20 in evaluation, rate / 10 after epochs 30 and
60, 90 epochs), but for k-means: 10 starts and 40 iterations here. Adam 1e-4 and L 10 in training
are those of our CIFAR-10 config. Data: CIFAR-100 through TensorFlow Datasets (fetched once,
161 MiB). Cost: made for a GPU; not run to the end by us.

    python -m clustr_tf.train --config=configs/cifar100.py --workdir=runs/cifar100
"""

import ml_collections
from ml_collections.config_dict import placeholder


def get_config() -> ml_collections.ConfigDict:
    """The settings; every field can be overridden as --config.section.field=value."""
    return ml_collections.ConfigDict(
        {
            "dataset": {
                "name": "cifar100",  # 50,000 training and 10,000 test images of 32x32x3
                "augmentation": "crop_and_flip",  # the published one: crop with padding 4, flip
                "data_dir": placeholder(str),  # TensorFlow Datasets' own default
                "validation_examples": 0,  # training images held out, never trained on
                "validation_seed": 0,  # decides which
                "image_size": placeholder(tuple),  # of image_folder only
            },
            "backbone": {
                "name": "resnet18",
                "width": 64,  # the published network
            },
            "clustering": {
                "clusters_per_class": 2,  # K
                "clusters_per_batch": 12,  # M
                "examples_per_cluster": 20,  # D; the batch has 240 images
                "nearest": 20,  # L in evaluation: of 200 clusters
                "normalize": True,  # False ignores L
                "kmeans_starts": 10,  # k-means++ starts per class
                "kmeans_iterations": 40,  # Lloyd iterations at most
            },
            "objective": {
                "name": "clustr",  # the magnet loss alone
                "alpha": 12.5,  # separation gap
                "epsilon": 0.0,  # 1e-8: the published arithmetic
                "nearest": 10,  # L inside losses that use log-scores
            },
            "optimizer": {
                "learning_rate": 1e-4,  # of Adam
                "milestones": (30, 60),  # epochs after which the rate drops
                "decay": 0.1,  # factor of each drop
            },
            "training": {
                "epochs": 90,  # clusters are refreshed after each
                "seed": 0,  # weights, neighbourhoods, augmentation, k-means
                "steps_per_epoch": placeholder(int),  # whole batches: 208
                "strategy": "default",  # default, mirrored
                "jit_compile": True,  # XLA makes a ResNet step clearly faster
            },
            "evaluation": {
                "attack": {
                    "eps": 8 / 255,  # radius in pixels
                    "step_size": 2 / 255,  # per step, in pixels
                    "steps": 20,
                    "restarts": 1,  # random starts
                    "norm": "linf",  # linf, l2
                    "losses": ("ce", "margin"),  # an image is robust if every loss fails
                },
                "examples": 1000,  # test images that are attacked and certified
                "batch_size": 250,  # images attacked at once
            },
        }
    )
