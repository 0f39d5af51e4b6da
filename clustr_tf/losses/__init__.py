"""Losses on embeddings, log-scores and radii."""

from clustr_tf.losses.certified_margin import certified_margin_loss
from clustr_tf.losses.classification import (
    CONSISTENCIES,
    Consistency,
    accuracy,
    cross_entropy,
    kl_divergence,
    mean_squared_error,
    nearest_cluster_nll,
    soft_cross_entropy,
)
from clustr_tf.losses.magnet import MagnetLoss, magnet_loss

__all__ = [
    "CONSISTENCIES",
    "Consistency",
    "MagnetLoss",
    "accuracy",
    "certified_margin_loss",
    "cross_entropy",
    "kl_divergence",
    "magnet_loss",
    "mean_squared_error",
    "nearest_cluster_nll",
    "soft_cross_entropy",
]
