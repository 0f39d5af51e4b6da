"""The digits that scikit-learn ships: the two-minute tour.

Variants: `default` is what stays standing under the strongest attacks, clusters in the unit ball
by adversarial training (the method of Madry et al., arXiv 1706.06083, on log-scores); `plain` is
ClusTR without an adversary, the method of Alfarra et al., arXiv 2006.07682. The hyper-parameters
are ours, for a small network. Cost: under 90 seconds on 2 CPU cores, nothing is downloaded.
Expected: README.md and docs/results.md.

    python -m clustr_tf.train --config=configs/digits.py --workdir=runs/digits
    python -m clustr_tf.train --config=configs/digits.py:plain --workdir=runs/plain
"""

import ml_collections

_VARIANTS = ("default", "plain")


def get_config(variant: str = "default") -> ml_collections.ConfigDict:
    """The settings of a variant; a field is overridden as --config.section.field=value."""
    if variant not in _VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(_VARIANTS)}. Received: {variant!r}")
    config = _plain()
    if variant == "plain":
        return config
    config.backbone.unit_ball = True  # what is attacked through exp-scores falls as well
    config.clustering.temperature = 100.0  # sigma^2 of an untrained network is far too small
    config.method = {"name": "clustr_at", "eps": 0.1}  # radius of the adversary, in pixels
    config.optimizer.learning_rate = 4e-3
    config.optimizer.schedule = {"name": "cosine"}
    config.training.batch_size = 40
    config.training.checkpoint = "best_pgd"  # of the held-out images
    return config


def _plain() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {  # what is not said here has the default that docs/api/settings.md lists
            "dataset": {
                "name": "digits",  # 1,437 training and 360 test images of 8x8x1
                "validation_examples": 137,  # training images held out for the watch; 1,300 stay
            },
            "backbone": {
                "name": "small_cnn",  # a key of BACKBONES
                "width": 32,  # channels of the first convolution
                "unit_ball": False,  # True: embeddings are projected onto the unit ball
            },
            "clustering": {
                "clusters_per_class": 2,  # K
                "clusters_per_batch": 12,  # M: one seed and its 11 nearest impostors
                "examples_per_cluster": 10,  # D; a neighbourhood has 120 images
                "temperature": 1.0,  # factor of k-means' sigma^2 in the head
            },
            "method": {
                "name": "clustr",  # a key of METHODS
                "alpha": 12.5,  # separation gap
            },
            "optimizer": {
                "name": "adam",  # any Keras optimizer, with its own fields
                "learning_rate": 1e-3,  # of the first epoch
                "schedule": {"name": "milestones", "milestones": (30,), "decay": 0.1},  # or cosine
            },
            "training": {
                "epochs": 40,  # k-means' clusters are refreshed after each
            },
            "watch": {  # after every epoch, on the held-out training images
                "attack": {
                    "eps": 0.1,  # radius in pixels
                    "step_size": 0.025,  # per step, in pixels
                    "steps": 10,  # gradient steps
                    "losses": ("margin",),  # an image is robust if every loss fails
                },
            },
            "evaluation": {
                "attack": {
                    "eps": 0.1,  # radius in pixels
                    "step_size": 0.02,  # per step, in pixels
                    "steps": 20,  # gradient steps
                },
                "examples": 360,  # test images that are attacked and certified
                "batch_size": 360,  # images attacked at once
            },
        }
    )
