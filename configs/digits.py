"""The digits that scikit-learn ships: the two-minute tour.

Variants: `default` is what stays standing under the strongest attacks, clusters in the unit ball
by adversarial training (the objective of Madry et al., arXiv 1706.06083, on log-scores); `plain` is
ClusTR without an adversary, the method of Alfarra et al., arXiv 2006.07682. The hyper-parameters
are ours, for a small network. Cost: under 90 seconds on 2 CPU cores, nothing is downloaded.
Expected: README.md and docs/results.md.

    python -m clustr_tf.train --config=configs/digits.py --workdir=runs/digits
    python -m clustr_tf.train --config=configs/digits.py:plain --workdir=runs/plain
"""

import ml_collections
from ml_collections.config_dict import placeholder

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
    config.objective.name = "clustr_at"
    config.optimizer.learning_rate = 4e-3  # of Adam
    config.optimizer.schedule = "cosine"
    config.optimizer.milestones = ()  # of the other schedule
    config.training.batch_size = 40
    config.training.checkpoint = "best_pgd"  # of the held-out images
    return config


def _plain() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "dataset": {
                "name": "digits",  # 1,437 training and 360 test images of 8x8x1
                "augmentation": "none",  # none, crop_and_flip
                "data_dir": placeholder(str),  # digits are embedded
                "validation_examples": 137,  # training images held out for the watch; 1,300 stay
                "validation_seed": 0,  # decides which
                "image_size": placeholder(tuple),  # of image_folder only
            },
            "backbone": {
                "name": "small_cnn",  # a key of BACKBONES: docs/training.md lists them
                "width": 32,  # channels of the first convolution
                "unit_ball": False,  # True: embeddings are projected onto the unit ball
            },
            "clustering": {
                "clusters_per_class": 2,  # K
                "clusters_per_batch": 12,  # M: one seed and its 11 nearest impostors
                "examples_per_cluster": 10,  # D; a neighbourhood has 120 images
                "nearest": placeholder(int),  # L; all 20 clusters take part in the scores
                "normalize": True,  # False ignores L
                "kmeans_starts": 1,  # k-means++ starts per class
                "kmeans_iterations": 20,  # Lloyd iterations at most
                "temperature": 1.0,  # factor of k-means' sigma^2 in the head
            },
            "objective": {
                "name": "clustr",  # or one of the others in clustr_tf/objectives/
                "alpha": 12.5,  # separation gap
                "epsilon": 0.0,  # 1e-8: the published arithmetic
                "nearest": placeholder(int),  # L inside losses that use log-scores
                "eps": 0.1,  # radius of the adversary, in pixels
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
                "learning_rate": 1e-3,  # of Adam
                "milestones": (30,),  # epochs after which the rate drops
                "decay": 0.1,  # factor of each drop
                "schedule": "milestones",  # or cosine
            },
            "training": {
                "epochs": 40,  # k-means' clusters are refreshed after each
                "seed": 0,  # weights, batches, k-means
                "steps_per_epoch": placeholder(int),  # as many whole batches as the data have
                "batch_size": placeholder(int),  # of shuffled batches; None: M*D
                "strategy": "default",  # default, mirrored, multi_worker
                "jit_compile": False,  # compiling costs more than it saves here
                "precision": "float32",  # or mixed_bfloat16: the backbone's arithmetic
                "deterministic": False,  # True: bit for bit the same again, without times
                "checkpoint": "last",  # or best_pgd: the epoch that becomes the model
                "checkpoint_minutes": 10.0,  # the state is saved so often, and after every epoch
            },
            "watch": {  # after every epoch, on the held-out training images
                "attack": {
                    "eps": 0.1,  # radius in pixels
                    "step_size": 0.025,  # per step, in pixels
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
                    "eps": 0.1,  # radius in pixels
                    "step_size": 0.02,  # per step, in pixels
                    "steps": 20,  # gradient steps
                    "restarts": 1,  # random starts
                    "norm": "linf",  # linf, l2
                    "losses": ("ce", "margin"),  # an image is robust if every loss fails
                },
                "examples": 360,  # test images that are attacked and certified
                "batch_size": 360,  # images attacked at once
                "apgd_steps": 100,  # of apgd_ce and of each target of apgd_t
                "square_queries": 5000,  # of square
                "paper_steps": 20,  # of pgd_paper; the paper also has 100
                "paper_restarts": 10,  # of pgd_paper
                "curve": (0.25, 0.5, 0.75, 1.5, 2.0),  # radii of the curves, multiples of eps
                "diagnostic_examples": 200,  # the first so many are diagnosed; 0 for none
            },
        }
    )
