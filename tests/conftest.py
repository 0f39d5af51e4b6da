"""Shared fixtures: the numbers of the official PyTorch code."""

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def golden():
    """Arrays computed by the unmodified official ClusTR code in float64 (tests/data/README.md)."""
    with np.load(Path(__file__).parent / "data" / "golden.npz", allow_pickle=False) as archive:
        return dict(archive)
