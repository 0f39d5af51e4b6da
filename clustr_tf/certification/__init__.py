"""Certifying a data set, and what `python -m clustr_tf.certify` does."""

from clustr_tf.certification.images import (
    Certification,
    ProvedRadii,
    certify_batch,
    certify_images,
    head_geometry,
)
from clustr_tf.certification.intervals import certified_accuracy_linf
from clustr_tf.certification.served import certified_classifier

__all__ = [
    "Certification",
    "ProvedRadii",
    "certified_accuracy_linf",
    "certified_classifier",
    "certify_batch",
    "certify_images",
    "head_geometry",
]
