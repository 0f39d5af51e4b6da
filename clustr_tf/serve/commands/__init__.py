"""Entry points: export, ask, check and convert served models."""
