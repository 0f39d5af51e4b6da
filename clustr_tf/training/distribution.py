"""The tf.distribute strategies by name."""

from collections.abc import Callable

import tensorflow as tf

STRATEGIES: dict[str, Callable[[], tf.distribute.Strategy]] = {
    "default": tf.distribute.get_strategy,  # one device, or the strategy scope around the caller
    "mirrored": tf.distribute.MirroredStrategy,  # every GPU of this machine
}
