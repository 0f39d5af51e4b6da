"""What an interrupted evaluation remembers."""

import numpy as np
import pytest

from clustr_tf.evaluation.memory import Memory

SETTINGS = {"eps": 0.1, "models": ["a1"]}


def _refuse():
    raise AssertionError("computed again")


def test_what_was_computed_is_recalled_with_its_seconds(tmp_path):
    before = Memory(tmp_path, SETTINGS)
    before.of("pgd")("0-1", lambda: np.array([3, 1]))
    again = Memory(tmp_path, dict(SETTINGS))
    recalled = again.of("pgd")("0-1", _refuse)
    np.testing.assert_array_equal(recalled, [3, 1])
    assert recalled.dtype == np.int64
    assert again.seconds == before.seconds > 0


def test_other_attacks_and_batches_are_other_results(tmp_path):
    memory = Memory(tmp_path, SETTINGS)
    for name, key, value in [("pgd", "0", 1), ("pgd", "1", 2), ("square", "0", 3)]:
        memory.of(name)(key, lambda value=value: np.array(value))
    assert [int(memory.of("pgd")(key, _refuse)) for key in ("0", "1")] == [1, 2]
    assert int(memory.of("square")("0", _refuse)) == 3


@pytest.mark.parametrize("settings", [{"eps": 0.2, "models": ["a1"]}, {"eps": 0.1}])
def test_another_evaluation_forgets(tmp_path, settings):
    Memory(tmp_path, SETTINGS).of("pgd")("0", lambda: np.array(1))
    assert int(Memory(tmp_path, settings).of("pgd")("0", lambda: np.array(2))) == 2


def test_an_error_leaves_nothing_half_written(tmp_path):
    memory = Memory(tmp_path, SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        memory.of("pgd")("0", _interrupt)
    assert int(memory.of("pgd")("0", lambda: np.array(5))) == 5


def _interrupt():
    raise KeyboardInterrupt


def test_forgetting_removes_the_folder(tmp_path):
    memory = Memory(tmp_path / "evaluation", SETTINGS)
    memory.forget()
    assert not (tmp_path / "evaluation").exists()
