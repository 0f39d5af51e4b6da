"""The hash of the weights; what else a card says is read off a whole run in tests.cli."""

import hashlib

import keras
import numpy as np

from clustr_tf.serve.model_card import weights_sha256


def test_the_hash_is_of_types_shapes_and_values():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    kernel, bias = np.array([[0.5], [-2.0]], np.float32), np.array([3.0], np.float32)
    model.set_weights([kernel, bias])
    content = b"<f4(2, 1)" + kernel.tobytes() + b"<f4(1,)" + bias.tobytes()
    assert weights_sha256(model) == hashlib.sha256(content).hexdigest()


def test_the_hash_tells_the_last_bit(classifier):
    before = weights_sha256(classifier)
    variance = classifier.head.variance
    value = np.float32(keras.ops.convert_to_numpy(variance))
    try:
        variance.assign(np.nextafter(value, np.float32(np.inf)))
        assert weights_sha256(classifier) != before
    finally:
        variance.assign(value)
    assert weights_sha256(classifier) == before
