"""Certified radii of data sets."""

from clustr_tf.certification.images import Certification, certify_batch, certify_images

__all__ = ["Certification", "certify_batch", "certify_images"]
