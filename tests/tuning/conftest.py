"""Processes that begin with everything imported."""

import multiprocessing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def context():
    """Forks from a server that has imported TensorFlow and the search."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["clustr_tf.tuning.search"])
        yield context
