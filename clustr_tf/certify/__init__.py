"""Certified radii: margins in embedding space, Lipschitz bounds, boxes, and what joins them.

Nothing is imported before it is asked for: `--help` needs no TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "affine": ["AffineCertificates", "certify_affine", "split_affine"],
        "affine_head": ["AffineHead", "affine_head"],
        "certifier": [
            "NO_PROOF",
            "Certified",
            "CertifiedRadii",
            "Certifier",
            "certified_radii",
        ],
        "graph": ["is_reparametrised", "plain_network"],
        "images": [
            "Certification",
            "ProvedRadii",
            "certified_share",
            "certify_images",
        ],
        "l2.affine": ["affine_margin"],
        "l2.clusters": ["ClusterGeometry", "cluster_geometry", "nearest_cluster_radius"],
        "l2.layer_bounds": ["LAYER_BOUNDS", "LayerBound", "layer_bound"],
        "l2.lipschitz": ["LipschitzBound", "embed_with_norms", "lipschitz_bound"],
        "l2.soft_score": ["signed_class_radii", "soft_score_radius"],
        "linf.boxes": ["LAYER_BOXES", "Box", "layer_box"],
        "linf.head": [
            "affine_margins",
            "log_score_margins",
            "nearest_cluster_margins",
            "soft_score_margins",
            "worst_differences",
        ],
        "linf.interval": [
            "EmbeddingBounds",
            "LinfCertificates",
            "certified_linf",
            "embed_with_box",
            "embedding_box",
            "has_interval_bounds",
            "image_box",
            "interval_bounds",
            "interval_radius",
        ],
        "linf.linear_relaxation": ["AFFINE_LAYERS", "linear_bounds", "linear_bounds_l2"],
        "linf.search": [
            "BISECTION",
            "FROM_KNOWN",
            "GRID",
            "SEARCHES",
            "RadiusSearch",
            "largest_proved",
        ],
        "radii": [
            "Certificates",
            "Proof",
            "Radii",
            "all_proofs",
            "certified_classifier",
            "certify_batch",
            "certify_embeddings",
            "head_geometry",
            "nearest_cluster_proof",
            "prove",
            "soft_score_proof",
        ],
        "report": ["certify_workdir"],
    },
)
