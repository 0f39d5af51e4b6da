"""Certified radii: margins in embedding space, Lipschitz bounds and what joins them."""

from clustr_tf.certificates.certify import Certificates, certify_embeddings, prove
from clustr_tf.certificates.clusters import ClusterGeometry
from clustr_tf.certificates.interval import (
    LinfCertificates,
    certified_linf,
    embed_with_box,
    has_interval_bounds,
    image_box,
    interval_radius,
)
from clustr_tf.certificates.interval_head import log_score_margins, worst_differences
from clustr_tf.certificates.layer_bounds import layer_bound
from clustr_tf.certificates.lipschitz import LipschitzBound, embed_with_norms, lipschitz_bound
from clustr_tf.certificates.nearest_cluster import cluster_geometry, nearest_cluster_radius
from clustr_tf.certificates.plain import is_reparametrised, plain_network
from clustr_tf.certificates.proofs import (
    Proof,
    all_proofs,
    nearest_cluster_proof,
    soft_score_proof,
)
from clustr_tf.certificates.soft_score import signed_class_radii, soft_score_radius

__all__ = [
    "Certificates",
    "ClusterGeometry",
    "LinfCertificates",
    "LipschitzBound",
    "Proof",
    "all_proofs",
    "certified_linf",
    "certify_embeddings",
    "cluster_geometry",
    "embed_with_box",
    "embed_with_norms",
    "has_interval_bounds",
    "image_box",
    "interval_radius",
    "is_reparametrised",
    "layer_bound",
    "lipschitz_bound",
    "log_score_margins",
    "nearest_cluster_proof",
    "nearest_cluster_radius",
    "plain_network",
    "prove",
    "signed_class_radii",
    "soft_score_proof",
    "soft_score_radius",
    "worst_differences",
]
