"""Keras layers of the classifier."""

from clustr_tf.layers.clustering_head import ClusteringHead

__all__ = ["ClusteringHead"]
