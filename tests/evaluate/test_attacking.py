"""Examples under attack, on a model whose margins are known; what is remembered of them."""

import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.attacks import PGD, RobustnessEvaluator, pgd_attacks
from clustr_tf.evaluate.attacking import Examples, Memory

SHAPE = (2, 2, 1)
# Mean pixels of the images; the threshold is 0.5, so the l-infinity margins are |mean - 0.5|.
MEANS = np.array([0.1, 0.35, 0.45, 0.48, 0.52, 0.55, 0.65, 0.9, 0.2], np.float32)
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])  # the last is misclassified


def threshold_model(images):
    """Class 1 if the mean pixel is above 0.5."""
    score = tf.reduce_mean(images, axis=[1, 2, 3]) - 0.5
    return 10 * tf.stack([-score, score], axis=1)


def images_of(means):
    return np.ones((len(means), *SHAPE), np.float32) * np.reshape(means, (-1, 1, 1, 1))


@pytest.fixture
def examples(tmp_path):
    """(Memory folder's name, model) -> the examples; the attack is PGD on margin, then on CE."""

    def build(folder="memory", model=threshold_model):
        attack = PGD(eps=0.1, step_size=0.05, steps=4, losses=("margin", "ce"))
        evaluator = RobustnessEvaluator(model, SHAPE, pgd_attacks(model, SHAPE, attack), 4)
        memory = Memory(tmp_path / folder, {})
        return Examples(evaluator, images_of(MEANS), LABELS, seed=1, memory=memory)

    return build


def test_each_stage_attacks_what_the_ones_before_left(examples):
    """Within 0.1 of the threshold lie four of the eight correct examples: 8, then 4 attacked."""
    outcome = examples().attacked("both", ("margin", "ce"), 0.1)
    np.testing.assert_array_equal(outcome.any_broken, [0, 0, 1, 1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(outcome.broken["margin"], outcome.any_broken)
    assert not outcome.broken["ce"].any()
    assert outcome.attacked == 8 + 4


def test_only_the_first_examples(examples):
    outcome = examples().attacked("few", ("margin",), 0.1, count=4)
    np.testing.assert_array_equal(outcome.any_broken, [0, 0, 1, 1])


def test_the_smallest_radius_is_the_first_above_the_margin(examples):
    """Margins .4 .15 .05 .02 .02 .05 .15 .4; radii .03 .1 .2 in any order; the last is wrong."""
    smallest = examples().smallest_eps("pgd", ("margin",), [0.2, 0.03, 0.1])
    expected = [np.inf, 0.2, 0.1, 0.03, 0.03, 0.1, 0.2, np.inf, 0.0]
    np.testing.assert_allclose(smallest, expected, rtol=1e-6)
    assert smallest.dtype == np.float32


def test_what_a_stage_did_to_an_example_is_not_done_again(examples):
    """By name, candidates or curve; only examples that it has not seen, at this radius, are."""
    told, build = [], examples()
    build._on_batch = lambda name, count, *_: told.append((name, count))
    whole = build.attacked("both", ("margin", "ce"), 0.1)
    assert sum(count for _, count in told) == whole.attacked == 8 + 4
    told.clear()
    build.smallest_eps("pgd", ("margin",), [0.1])
    again = build.attacked("some", ("margin",), 0.1, MEANS > 0.5, count=6)
    np.testing.assert_array_equal(again.any_broken, [0, 0, 0, 0, 1, 1])
    assert not told
    turned = build.attacked("turned", ("ce", "margin"), 0.1)  # ce has seen the other four
    np.testing.assert_array_equal(turned.any_broken, whole.any_broken)
    assert told == [("turned", 4)]
    build.attacked("both", ("margin",), 0.2)
    assert sum(count for _, count in told) == 4 + 8


def test_an_interrupted_attack_goes_on_where_it_was(examples):
    """The second session finds both batches of the first stage remembered."""
    calls = []

    def told(name, count, *_):
        calls.append(count)
        if len(calls) == 2:
            raise KeyboardInterrupt

    first = examples()
    first._on_batch = told
    with pytest.raises(KeyboardInterrupt):
        first.attacked("both", ("margin", "ce"), 0.1)

    second = examples()
    attacked = []
    second.evaluator._compiled_attacks["margin"] = lambda *_: attacked.append("margin")
    outcome = second.attacked("both", ("margin", "ce"), 0.1)
    assert not attacked
    whole = examples("elsewhere").attacked("both", ("margin", "ce"), 0.1)
    np.testing.assert_array_equal(outcome.any_broken, whole.any_broken)


def test_adversarial_images_break_and_stay_in_the_ball(examples):
    built = examples()
    rows = np.array([2, 5])
    found, predictions = built.adversarial("margin", rows, 0.1)
    np.testing.assert_array_equal(predictions, 1 - LABELS[rows])
    assert np.abs(found - images_of(MEANS)[rows]).max() <= 0.1 + 1e-6
    np.testing.assert_array_equal(np.mean(found, axis=(1, 2, 3)) > 0.5, predictions)


def test_whole_numbers_stand_for_multiples_of_1_255(tmp_path):
    """127 and 128 of 255 lie on either side of 0.5, so the model tells them apart."""
    evaluator = RobustnessEvaluator(threshold_model, SHAPE, {})
    images = np.full((2, *SHAPE), 127, np.uint8)
    images[1] += 1
    np.testing.assert_array_equal(evaluator.predictions(images), [0, 1])


# Tuples come back from JSON as lists: it is the same evaluation.
SETTINGS = {"eps": 0.1, "models": ["a1"], "curve": (0.5, 2.0)}


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


@pytest.mark.parametrize("settings", [SETTINGS | {"eps": 0.2}, {"eps": 0.1}])
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
