"""Losses on embeddings and log-scores."""

from clustr_tf.losses.magnet import MagnetLoss, magnet_loss

__all__ = ["MagnetLoss", "magnet_loss"]
