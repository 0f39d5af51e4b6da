"""Experiments as data: every file has get_config() and imports ml_collections and other configs."""
