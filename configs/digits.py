"""Plain ClusTR on the digits that scikit-learn ships: the two-minute tour.

Source: the method of Alfarra et al., arXiv 2006.07682; the hyper-parameters are ours, for a small
network. Cost: under 90 seconds on 2 CPU cores, nothing is downloaded.

    python -m clustr_tf.train --config=configs/digits.py --workdir=runs/digits
"""

import ml_collections
from ml_collections.config_dict import placeholder


def get_config() -> ml_collections.ConfigDict:
    """The settings; every field can be overridden as --config.section.field=value."""
    return ml_collections.ConfigDict(
        {
            "dataset": {
                "name": "digits",  # 1,437 training and 360 test images of 8x8x1
                "augmentation": "none",  # none, crop_and_flip
                "data_dir": placeholder(str),  # digits are embedded
                "validation_examples": 0,  # training images held out, never trained on
                "validation_seed": 0,  # decides which
                "image_size": placeholder(tuple),  # of image_folder only
            },
            "backbone": {
                "name": "small_cnn",  # resnet18, small_cnn
                "width": 32,  # channels of the first convolution
            },
            "clustering": {
                "clusters_per_class": 2,  # K
                "clusters_per_batch": 12,  # M: one seed and its 11 nearest impostors
                "examples_per_cluster": 10,  # D; the batch has 120 images
                "nearest": placeholder(int),  # L; all 20 clusters take part in the scores
                "normalize": True,  # False ignores L
                "kmeans_starts": 1,  # k-means++ starts per class
                "kmeans_iterations": 20,  # Lloyd iterations at most
            },
            "objective": {
                "name": "clustr",  # the magnet loss alone
                "alpha": 12.5,  # separation gap
                "epsilon": 0.0,  # 1e-8: the published arithmetic
                "nearest": placeholder(int),  # L inside losses that use log-scores
            },
            "optimizer": {
                "learning_rate": 1e-3,  # of Adam
                "milestones": (30,),  # epochs after which the rate drops
                "decay": 0.1,  # factor of each drop
            },
            "training": {
                "epochs": 40,  # clusters are refreshed after each
                "seed": 0,  # weights, neighbourhoods, k-means
                "steps_per_epoch": placeholder(int),  # as many whole batches as the data have: 11
                "strategy": "default",  # default, mirrored
                "jit_compile": False,  # compiling costs more than it saves here
            },
            "evaluation": {
                "attack": {
                    "eps": 0.1,  # radius in pixels
                    "step_size": 0.02,  # per step, in pixels
                    "steps": 20,
                    "restarts": 1,  # random starts
                    "norm": "linf",  # linf, l2
                    "losses": ("ce", "margin"),  # an image is robust if every loss fails
                },
                "examples": 360,  # test images that are attacked and certified
                "batch_size": 360,  # images attacked at once
            },
        }
    )
