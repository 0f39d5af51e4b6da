"""Certified radii of data sets."""

from clustr_tf.certification.images import (
    Certification,
    ProvedRadii,
    certify_batch,
    certify_images,
    head_geometry,
)

__all__ = ["Certification", "ProvedRadii", "certify_batch", "certify_images", "head_geometry"]
