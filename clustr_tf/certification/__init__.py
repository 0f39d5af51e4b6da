"""Certified radii of data sets."""

from clustr_tf.certification.images import (
    Certification,
    certified_classifier,
    certify_batch,
    certify_images,
)
from clustr_tf.certification.intervals import certified_accuracy_linf

__all__ = [
    "Certification",
    "certified_accuracy_linf",
    "certified_classifier",
    "certify_batch",
    "certify_images",
]
