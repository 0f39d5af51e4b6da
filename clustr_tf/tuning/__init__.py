"""Searches for settings with Keras-tuner: what `python -m clustr_tf.tune` does."""
