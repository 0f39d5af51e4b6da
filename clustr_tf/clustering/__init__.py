"""Clusters inside each class and the neighbourhoods drawn from them."""

from clustr_tf.clustering.kmeans import Clusters, cluster_by_class
from clustr_tf.clustering.sampler import NeighbourhoodSampler

__all__ = ["Clusters", "NeighbourhoodSampler", "cluster_by_class"]
