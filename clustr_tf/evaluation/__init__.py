"""Evaluation of finished models."""
