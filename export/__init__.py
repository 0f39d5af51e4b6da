"""Deployment: thin commands over `clustr_tf.serve`, and what model servers are configured with."""
