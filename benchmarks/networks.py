"""Classifiers with random weights, for what does not depend on them."""

import numpy as np

from clustr_tf.backbones import build_backbone
from clustr_tf.certify.l2.lipschitz import LipschitzBound, embed_with_norms
from clustr_tf.classifier import Classifier
from clustr_tf.layers import ClusteringHead

# Images and channels of the first stage that make embeddings of dimension 512.
INPUTS = {"resnet18": ((32, 32, 3), 64), "small_cnn": ((8, 8, 1), 32)}
DIM = 512


def random_classifier(backbone: str, classes: int, clusters_per_class: int) -> Classifier:
    """A classifier of `INPUTS` with centroids around 0.

    Args:
        backbone: of `INPUTS`.
        classes: C.
        clusters_per_class: K.

    Returns:
        The classifier.
    """
    shape, width = INPUTS[backbone]
    network = build_backbone(backbone, shape, width=width)
    assert network.output_shape[-1] == DIM, network.output_shape
    head = ClusteringHead(classes, clusters_per_class)
    channels = shape[-1]
    classifier = Classifier(network, head, mean=[0.5] * channels, std=[0.25] * channels)
    centroids = np.random.default_rng(0).normal(size=(classes * clusters_per_class, DIM))
    head.set_clusters(centroids, 1.0)
    return classifier


def free_bound(classifier: Classifier) -> LipschitzBound:
    """A bound of the right form that takes no time to find: only its size matters for speed."""
    image = np.zeros((1, *classifier.image_shape), "float32")
    norms = embed_with_norms(classifier.embedder, image)[1]
    return LipschitzBound(1.0, 0.0, (0.0,) * (1 + norms.shape[1]))
