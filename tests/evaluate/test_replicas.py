"""An evaluation that two replicas share gives what one device gives."""

import pytest

from tests import programs


@pytest.mark.slow
def test_two_replicas_find_what_one_device_finds():
    """The program compares predictions and what each attack breaks, example by example."""
    finished = programs.run("tests.evaluate.two_replicas")
    assert finished.returncode == 0, finished.stderr
