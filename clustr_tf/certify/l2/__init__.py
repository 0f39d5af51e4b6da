"""Radii in l2: clusters, Lipschitz bounds, rounding."""
