"""Certified radii of data sets."""

from clustr_tf.certification.images import (
    Certification,
    certified_classifier,
    certify_batch,
    certify_images,
)

__all__ = ["Certification", "certified_classifier", "certify_batch", "certify_images"]
