"""The likelihood of the nearest cluster, by hand."""

import numpy as np

from clustr_tf.layers import ClusteringHead
from clustr_tf.losses import nearest_cluster_nll


def test_is_the_distance_to_the_nearest_cluster_of_the_label():
    """Clusters of class 0 at 0 and 4, of class 1 at 1 and 9; sigma^2 = 2, so |z - mu|^2 / 4.

    From 1: class 0's nearest is 0, one away: 1/4, though a cluster of class 1 is nearer. From 6:
    class 1's nearest is 9, three away: 9/4.
    """
    head = ClusteringHead(num_classes=2, clusters_per_class=2)
    head.set_clusters([[0.0], [4.0], [1.0], [9.0]], variance=2.0)
    found = nearest_cluster_nll(head, np.array([[1.0], [6.0]], np.float32), np.array([0, 1]))
    np.testing.assert_allclose(found, [0.25, 2.25])
