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
from ml_collections.config_dict import placeholder

_VARIANTS = ("default", "published", "thin")


def get_config(variant: str = "default") -> ml_collections.ConfigDict:
    """The settings of a variant; a field is overridden as --config.section.field=value."""
    if variant not in _VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(_VARIANTS)}. Received: {variant!r}")
    return ml_collections.ConfigDict(
        {
            "dataset": {
                "name": "cifar10",  # 50,000 training and 10,000 test images of 32x32x3
                "augmentation": "crop_and_flip",  # the published one: crop with padding 4, flip
                "data_dir": placeholder(str),  # TensorFlow Datasets' own default
                "validation_examples": 250,  # training images held out for the watch
                "validation_seed": 0,  # decides which
                "image_size": placeholder(tuple),  # of image_folder only
            },
            "backbone": {
                "name": "resnet18",  # a key of BACKBONES: docs/training.md lists them
                "width": 16 if variant == "thin" else 64,  # 64 is the published network
                "unit_ball": False,  # True: embeddings are projected onto the unit ball
            },
            "clustering": {
                "clusters_per_class": 2,  # K
                "clusters_per_batch": 12,  # M
                "examples_per_cluster": 20,  # D; the batch has 240 images
                "nearest": 20,  # L in evaluation: all clusters
                "normalize": True,  # False ignores L
                "kmeans_starts": 1,  # k-means++ starts per class
                "kmeans_iterations": 20,  # Lloyd iterations at most
                "temperature": 1.0,  # factor of k-means' sigma^2 in the head
            },
            "objective": {
                "name": "clustr",  # or one of the others in clustr_tf/objectives/
                "alpha": 12.5,  # separation gap
                "epsilon": 1e-8 if variant == "published" else 0.0,  # 0: the log domain
                "nearest": 10,  # L inside losses that use log-scores
                "eps": 8 / 255,  # radius of the adversary, in pixels
                # None: the method's own value; see clustr_tf/objectives/settings.py.
                "xent_lambda": 0.0,  # weight of the cross-entropy of the log-scores
                "consistency": placeholder(str),  # cross_entropy, kl, mse
                "consistency_lambda": placeholder(float),  # its weight
                "step_size": placeholder(float),  # of the adversary, in pixels
                "standardised_steps": False,  # step_size in standard deviations of each channel
                "steps": placeholder(int),  # of the adversary
                "replays": placeholder(int),  # of each batch in free training
                "margin": placeholder(float),  # l2 radius that clustr_certified trains for
                "temperature": placeholder(float),  # how sharply, in pixels
                "centroids": placeholder(str),  # learned, refreshed, fixed
                "magnet_lambda": 0.0,  # weight of the magnet loss beside the certified margin
                "likelihood_lambda": 0.0,  # weight of the distance to the own cluster
                "interval_lambda": placeholder(float),  # weight of the worst case of clustr_ibp
                "warmup": placeholder(float),  # share of the training over which its eps grows
            },
            "optimizer": {
                "learning_rate": 1e-4,  # of Adam
                "milestones": (30, 60),  # epochs after which the rate drops
                "decay": 0.1,  # factor of each drop
                "schedule": "milestones",  # or cosine
            },
            "training": {
                "epochs": 90,  # clusters are refreshed after each
                "seed": 0,  # weights, neighbourhoods, augmentation, k-means
                "steps_per_epoch": placeholder(int),  # whole batches: 208
                "batch_size": placeholder(int),  # of methods without clusters; M*D like the others
                "strategy": "default",  # default, mirrored, multi_worker
                "jit_compile": variant != "thin",  # XLA: the thin network is faster without
                "precision": "float32",  # or mixed_bfloat16: the backbone's arithmetic
                "deterministic": False,  # True: bit for bit the same again, without times
                "checkpoint": "last",  # or best_pgd: the epoch that becomes the model
                "checkpoint_minutes": 10.0,  # the state is saved so often, and after every epoch
            },
            "watch": {  # after every epoch, on the held-out training images
                "attack": {
                    "eps": 8 / 255,  # radius in pixels
                    "step_size": 2 / 255,  # per step, in pixels
                    "steps": 10,  # gradient steps
                    "restarts": 1,  # random starts
                    "norm": "linf",  # linf, l2
                    "losses": ("margin",),  # an image is robust if every loss fails
                },
                "collapse": 0.5,  # warns below this share of the best epoch's PGD accuracy
                "certified_radius": placeholder(float),  # l2; of 1-Lipschitz backbones only
                "certified_linf": placeholder(float),  # l-infinity, by interval bounds
            },
            "evaluation": {
                "attack": {
                    "eps": 8 / 255,  # radius in pixels
                    "step_size": 2 / 255,  # per step, in pixels
                    "steps": 20,  # gradient steps
                    "restarts": 1,  # random starts
                    "norm": "linf",  # linf, l2
                    "losses": ("ce", "margin"),  # an image is robust if every loss fails
                },
                "examples": 1000,  # test images that are attacked and certified
                "batch_size": 250,  # images attacked at once
                "apgd_steps": 100,  # of apgd_ce and of each target of apgd_t
                "square_queries": 5000,  # of square
                "paper_steps": 20,  # of pgd_paper; the paper also has 100
                "paper_restarts": 10,  # of pgd_paper
                "curve": (0.25, 0.5, 0.75, 1.5, 2.0),  # radii of the curves, multiples of eps
                "diagnostic_examples": 200,  # the first so many are diagnosed; 0 for none
            },
        }
    )
