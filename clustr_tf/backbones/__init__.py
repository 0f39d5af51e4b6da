"""Backbones: networks that map standardised images to embeddings."""

from clustr_tf.backbones.lipschitz import LIPSCHITZ_LAYERS, is_lipschitz
from clustr_tf.backbones.registry import BACKBONES, BFLOAT16_WIDTHS, build_backbone

__all__ = ["BACKBONES", "BFLOAT16_WIDTHS", "LIPSCHITZ_LAYERS", "build_backbone", "is_lipschitz"]
