"""Keras layers of the classifier."""

from clustr_tf.layers.activations import MaxMin, Saturation, UnitBall
from clustr_tf.layers.aol_conv2d import AOLConv2D
from clustr_tf.layers.batch_normalization import BatchNormalization
from clustr_tf.layers.clustering_head import ClusteringHead
from clustr_tf.layers.lipschitz_pooling import ScaledAveragePooling2D, SpaceToDepth
from clustr_tf.layers.orthogonal_dense import OrthogonalDense
from clustr_tf.layers.sll_conv2d import ScaledResidualConv2D, SLLConv2D

__all__ = [
    "AOLConv2D",
    "BatchNormalization",
    "ClusteringHead",
    "MaxMin",
    "OrthogonalDense",
    "SLLConv2D",
    "Saturation",
    "ScaledAveragePooling2D",
    "ScaledResidualConv2D",
    "SpaceToDepth",
    "UnitBall",
]
