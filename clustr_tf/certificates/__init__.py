"""Certified radii: margins in embedding space, Lipschitz bounds and what joins them."""
