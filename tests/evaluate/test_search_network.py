"""The network of another precision: the same weights, nearly the same numbers."""

import numpy as np

from clustr_tf.backbones import build_backbone
from clustr_tf.classifier import Classifier
from clustr_tf.evaluate.search_network import in_precision
from clustr_tf.layers import ClusteringHead


def test_it_has_the_weights_and_computes_in_bfloat16():
    """bfloat16 has 8 bits: a relative error of 2^-9 a layer."""
    backbone = build_backbone("small_cnn", (8, 8, 1), width=4, unit_ball=True)
    classifier = Classifier(backbone, ClusteringHead(3, 1), mean=[0.3], std=[0.5])
    rng = np.random.default_rng(4)
    classifier.head.set_clusters(rng.normal(size=(3, 64)), 1.0)
    images = rng.uniform(size=(5, 8, 8, 1)).astype(np.float32)
    half = in_precision(classifier, "mixed_bfloat16")
    assert half.head is classifier.head
    assert half.backbone.get_layer("convolution_1").compute_dtype == "bfloat16"
    assert half.backbone.get_layer("convolution_1").kernel.dtype == "float32"
    expected = classifier.embed(images).numpy()
    found = half.embed(images).numpy()
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).max() < 0.03 * np.abs(expected).max()
    np.testing.assert_array_equal(in_precision(classifier, "float32")(images), classifier(images))
