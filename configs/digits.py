"""The digits that scikit-learn ships: the two-minute tour, and a certificate worth having.

Variants: `default` trains clusters on interval bounds, so that most images are proved to keep their
class in l-infinity 0.1 (the schedule of Gowal et al., arXiv 1810.12715, on the clustering head);
`at` is adversarial training with clusters in the unit ball (the method of Madry et al.,
arXiv 1706.06083, on log-scores), which is more accurate and proves next to nothing; `plain` is
ClusTR without an adversary, the method of Alfarra et al., arXiv 2006.07682. The hyper-parameters
are ours, for a small network. Cost: under two minutes on 2 CPU cores, nothing is downloaded.
Expected: README.md and docs/results.md.

    python -m clustr_tf.train --config=configs/digits.py --workdir=runs/digits
    python -m clustr_tf.train --config=configs/digits.py:at --workdir=runs/at
    python -m clustr_tf.train --config=configs/digits.py:plain --workdir=runs/plain
"""

import ml_collections

_VARIANTS = ("default", "at", "plain")


def get_config(variant: str = "default") -> ml_collections.ConfigDict:
    """The settings of a variant; a field is overridden as --config.section.field=value."""
    if variant not in _VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(_VARIANTS)}. Received: {variant!r}")
    config = _plain()
    if variant == "plain":
        return config
    config.optimizer.learning_rate = 4e-3
    config.optimizer.schedule = {"name": "cosine"}
    config.training.batch_size = 40
    if variant == "at":
        config.backbone.unit_ball = True  # what is attacked through exp-scores falls as well
        config.clustering.temperature = 100.0  # sigma^2 of an untrained network is far too small
        config.method = {"name": "clustr_at", "eps": 0.1}  # radius of the adversary, in pixels
        config.training.checkpoint = "best_pgd"  # of the held-out images
        return config
    config.method = {
        "name": "clustr_ibp",  # trains on interval bounds of the log-scores
        "eps": 0.105,  # radius of the worst case at last, in pixels: a little above the tested one
        "interval_lambda": 1.0,  # weight of the worst case at last
        "likelihood_lambda": 0.003,  # pulls embeddings to their clusters
        "warmup": 0.5,  # share of the training over which both grow from 0
    }
    config.training.epochs = 30
    config.training.steps_per_epoch = 100  # 3,000 in all; with 440 the worst case is never learned
    config.watch.certified_linf = 0.1  # certified accuracy every epoch, by interval bounds
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
