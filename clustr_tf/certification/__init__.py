"""Certifying a data set, and what `python -m clustr_tf.certify` does."""

from clustr_tf.certification.images import (
    Certification,
    ProvedRadii,
    certify_batch,
    certify_images,
    head_geometry,
)
from clustr_tf.certification.linf import certified_accuracy_linf
from clustr_tf.certification.served import certified_classifier
from clustr_tf.certification.share import certified_share

__all__ = [
    "Certification",
    "ProvedRadii",
    "certified_accuracy_linf",
    "certified_classifier",
    "certified_share",
    "certify_batch",
    "certify_images",
    "head_geometry",
]
