"""Losses on embeddings and log-scores."""

from clustr_tf.losses.certified_margin import certified_margin_loss
from clustr_tf.losses.magnet import MagnetLoss, magnet_loss

__all__ = ["MagnetLoss", "certified_margin_loss", "magnet_loss"]
