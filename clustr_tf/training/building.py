"""From settings to an untrained classifier and its learning rates."""

import math
from dataclasses import replace

import keras

from clustr_tf.backbones import LIPSCHITZ_BACKBONES, build_backbone
from clustr_tf.classifier import Classifier
from clustr_tf.datasets import Dataset
from clustr_tf.experiment import Experiment
from clustr_tf.layers import ClusteringHead
from clustr_tf.objectives import build_objective
from clustr_tf.training.settings import OptimizerConfig


def build_classifier(experiment: Experiment, dataset: Dataset) -> Classifier:
    """An untrained classifier for the data.

    The backbone computes in the configured precision; standardisation, head, distances and losses
    always in float32, and so are all weights. Images of a backbone that is 1-Lipschitz are only
    centred, so that a pixel is a unit of the embedding.

    Args:
        experiment: backbone, precision, K, L; the objective decides which head it is.
        dataset: shapes and pixel statistics.

    Returns:
        The classifier: a clustering head that has no clusters yet, or a dense softmax layer.
    """
    backbone = _build_backbone(experiment, dataset.image_shape)
    head: keras.layers.Layer
    centroids = build_objective(experiment.objective).centroids
    if centroids is not None:
        head = ClusteringHead(
            dataset.num_classes,
            experiment.clustering.clusters_per_class,
            nearest=experiment.clustering.nearest,
            normalize=experiment.clustering.normalize,
            learned=centroids == "learned",
            name="clustering_head",
        )
    else:
        head = keras.layers.Dense(dataset.num_classes, name="dense_head")
    is_lipschitz = experiment.backbone.name in LIPSCHITZ_BACKBONES
    std = [1.0] * len(dataset.std) if is_lipschitz else dataset.std
    return Classifier(backbone, head, dataset.mean, std, name="classifier")


def in_float32(experiment: Experiment, dataset: Dataset, classifier: Classifier) -> Classifier:
    """The same weights in a classifier that computes in float32, as certificates assume.

    Args:
        experiment: the settings that `classifier` was built from.
        dataset: the data it was built for.
        classifier: in any precision.

    Returns:
        A classifier with copies of the weights.
    """
    training = replace(experiment.training, precision="float32")
    result = build_classifier(replace(experiment, training=training), dataset)
    result.set_weights(classifier.get_weights())
    return result


def learning_rate(config: OptimizerConfig, epoch: int, epochs: int) -> float:
    """The learning rate of an epoch.

    Args:
        config: rate, schedule, milestones and decay.
        epoch: how many epochs are finished, from 0.
        epochs: of the whole training.

    Returns:
        `rate * decay ** (milestones passed)`, or half a period of a cosine from the rate to 0.

    Example:
        >>> learning_rate(OptimizerConfig(1e-4, milestones=(30, 60)), 30, epochs=90)  # 1e-5

    Reference:
        Loshchilov and Hutter, arXiv 1608.03983, equation 5 (the cosine).
    """
    if config.schedule == "cosine":
        return config.learning_rate * (1 + math.cos(math.pi * epoch / epochs)) / 2
    passed = sum(epoch >= milestone for milestone in config.milestones)
    return config.learning_rate * config.decay**passed


def _build_backbone(experiment: Experiment, image_shape: tuple[int, int, int]) -> keras.Model:
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(experiment.training.precision)
    try:
        return build_backbone(
            experiment.backbone.name,
            image_shape,
            unit_ball=experiment.backbone.unit_ball,
            width=experiment.backbone.width,
        )
    finally:
        keras.config.set_dtype_policy(usual)
