"""Bounds in l-infinity: boxes of every layer and of the head."""
