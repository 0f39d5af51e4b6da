"""Backbones: networks that map standardised images to embeddings."""

from clustr_tf.backbones.registry import (
    BACKBONES,
    LIPSCHITZ_BACKBONES,
    Backbone,
    BackboneConfig,
    build_backbone,
)

__all__ = ["BACKBONES", "LIPSCHITZ_BACKBONES", "Backbone", "BackboneConfig", "build_backbone"]
