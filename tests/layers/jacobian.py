"""The whole Jacobian of a layer, and its singular values by SVD."""

import numpy as np
import tensorflow as tf


def singular_values(layer, point):
    """Of the Jacobian at one point `[1, ...]`, descending, in float64.

    Row i comes from the i-th of many copies of the point, by backpropagation from output i.
    """
    outputs = int(np.prod(layer(point).shape))
    copies = tf.constant(np.repeat(point, outputs, axis=0))
    with tf.GradientTape() as tape:
        tape.watch(copies)
        values = tf.linalg.diag_part(tf.reshape(layer(copies), [outputs, outputs]))
    jacobian = tape.gradient(values, copies).numpy().astype(np.float64)
    return np.linalg.svd(jacobian.reshape(outputs, -1), compute_uv=False)
