"""Square attack: its schedule by hand, its moves, and what it may never do."""

import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.attacks import Square, square
from clustr_tf.attacks.square import side_of, square_share, two_hills

SHAPE = (8, 6, 2)


@pytest.mark.parametrize(
    ("query", "halvings"),
    [
        *[(0, 0), (10, 0), (11, 1), (50, 1), (51, 2), (200, 2), (201, 3), (500, 3), (501, 4)],
        *[(1000, 4), (1001, 5), (2001, 6), (4001, 7), (6001, 8), (8000, 8), (8001, 9), (9999, 9)],
    ],
)
def test_the_schedule_of_10000_queries(query, halvings):
    """The published bounds 10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000."""
    assert square_share(query, 10_000) == 0.8 / 2**halvings


@pytest.mark.parametrize(
    ("query", "share"), [(5, 0.8), (6, 0.4), (25, 0.4), (26, 0.2), (4001, 0.8 / 512)]
)
def test_the_schedule_stretches(query, share):
    """Query q of 5,000 is query 2 q of 10,000."""
    assert square_share(query, 5000) == share


@pytest.mark.parametrize(
    ("share", "shape", "norm", "side"),
    [
        (0.8, (32, 32, 3), "linf", 29),  # sqrt(819.2) = 28.6
        (0.1, (32, 32, 3), "linf", 10),  # sqrt(102.4) = 10.1
        (0.8 / 512, (32, 32, 3), "linf", 1),  # sqrt(1.6) = 1.3
        (0.1, (32, 32, 3), "l2", 11),  # odd
        (0.8 / 512, (32, 32, 3), "l2", 3),
        (0.8, (4, 32, 1), "linf", 4),  # no larger than the image
        (0.8, (2, 2, 1), "l2", 2),
    ],
)
def test_the_side_of_a_square(share, shape, norm, side):
    assert side_of(share, shape, norm) == side


@pytest.mark.parametrize("side", [2, 3, 5, 11])
def test_two_hills_are_a_hill_and_a_hole_of_norm_1(side):
    hills = two_hills(side)
    assert np.linalg.norm(hills) == pytest.approx(1, abs=1e-6)
    assert (hills[: side // 2] > 0).all()
    assert (hills[side // 2 :] < 0).all()
    np.testing.assert_allclose(hills, hills[:, ::-1] if side % 2 else hills, atol=1e-7)


def constant_model(images):
    """Never broken, so that the search goes on."""
    return tf.reduce_mean(images, axis=[1, 2]) * 1e-6 + [1.0, 0.0]


@pytest.fixture
def images():
    return np.random.default_rng(1).uniform(0.3, 0.7, (5, *SHAPE)).astype(np.float32)


def test_linf_starts_with_stripes(images):
    """With queries = 1 and a loss that no square improves the start is what is found."""

    def flat_model(inputs):
        return tf.zeros([tf.shape(inputs)[0], 2]) + [1.0, 0.0] + 0 * inputs[:, 0, 0]

    found = Square(flat_model, SHAPE, "linf", 1)(images, np.zeros(5), eps=0.1).numpy()
    change = found - images
    np.testing.assert_allclose(np.abs(change), 0.1, rtol=1e-5)
    np.testing.assert_array_equal(np.sign(change), np.sign(change[:, :1]).repeat(8, axis=1))
    assert len(np.unique(np.sign(change[:, 0]).reshape(5, -1), axis=0)) > 1  # each its own


def test_l2_starts_on_the_sphere(images):
    def flat_model(inputs):
        return tf.zeros([tf.shape(inputs)[0], 2]) + [1.0, 0.0] + 0 * inputs[:, 0, 0]

    found = Square(flat_model, SHAPE, "l2", 1)(images, np.zeros(5), eps=0.2).numpy()
    lengths = np.linalg.norm((found - images).reshape(5, -1), axis=1)
    np.testing.assert_allclose(lengths, 0.2, rtol=1e-5)


def test_a_query_changes_one_square(images):
    """In a square of 3 x 3 each channel is at one of its bounds; all else is as it was."""
    attack = Square(constant_model, SHAPE, "linf", 10)
    best = tf.constant(images)
    tried = attack._flipped_square(best, best, 0.1, tf.constant([3, 1]), tf.constant(3), None)
    window, corner = attack._window(tf.unstack(tf.random.split(tf.constant([3, 1])))[0], 3)
    row, column = corner.numpy()
    assert 0 <= row <= 5
    assert 0 <= column <= 3
    change = (tried - best).numpy()
    inside = np.zeros(SHAPE[:2], bool)
    inside[row : row + 3, column : column + 3] = True
    np.testing.assert_array_equal(window[:, :, 0], inside)
    np.testing.assert_array_equal(change[:, ~inside], 0)
    np.testing.assert_allclose(np.abs(change[:, inside]), 0.1, rtol=1e-5)
    for channel in range(2):
        assert len(np.unique(np.sign(change[:, inside, channel]))) == 1


@pytest.mark.parametrize(("as_autoattack", "places"), [(False, {0, 1, 2, 3}), (True, {0, 1, 2})])
def test_where_squares_lie(as_autoattack, places):
    """Of side 3 in 6 columns: four places; the official code draws from the first three."""
    attack = Square(constant_model, SHAPE, "linf", 10, as_autoattack)
    drawn = {int(attack._window(tf.constant([seed, 0]), 3)[1][1]) for seed in range(60)}
    assert drawn == places
    whole, _ = attack._window(tf.constant([0, 0]), 6)
    assert whole[:, 0, 0].numpy().sum() == 6


def test_an_l2_query_keeps_to_the_sphere(images):
    """Mass moves between windows, and what is left of the ball is spent."""
    attack = Square(constant_model, SHAPE, "l2", 10)
    centres = tf.constant(images)
    best = attack(images, np.zeros(5), eps=0.2)
    tried = attack._moved_hills(
        best, centres, tf.constant(0.2), tf.constant([3, 1]), tf.constant(3), tf.constant(0)
    )
    lengths = np.linalg.norm((tried - centres).numpy().reshape(5, -1), axis=1)
    np.testing.assert_allclose(lengths, 0.2, rtol=1e-4)
    assert np.abs((tried - best).numpy()).max() > 1e-3


def test_a_query_crosses_the_whole_ball(images):
    """From the lower bound a channel that goes up arrives at the upper one: 2 eps further."""
    attack = Square(constant_model, SHAPE, "linf", 10)
    centres = tf.constant(images)
    seeds = [tf.constant([seed, 0]) for seed in range(8)]
    tried = [
        attack._flipped_square(centres - 0.1, centres, 0.1, seed, tf.constant(3), None) - centres
        for seed in seeds
    ]
    changed = np.array(tried)
    np.testing.assert_allclose(np.abs(changed), 0.1, rtol=1e-5)
    counts = (changed > 0).sum(axis=(2, 3))  # [seed, example, channel]
    assert set(np.unique(counts)) == {0, 9}


def test_an_l2_query_by_hand(images):
    """One move of algorithm 3 in NumPy, with the windows and signs that the attack draws.

    The second window is emptied; the first gets hills plus its old direction, stretched to what
    both windows and the unused part of the ball allow; the whole is stretched to the radius.
    """
    side, eps, seed = 3, 0.2, tf.constant([3, 2])
    attack = Square(constant_model, SHAPE, "l2", 10)
    phase = list(attack._sides).index(side)
    change = 0.01 * np.random.default_rng(6).normal(size=images.shape)
    tried = attack._moved_hills(
        tf.constant(images + change, tf.float32),
        tf.constant(images),
        tf.constant(eps),
        seed,
        tf.constant(side),
        tf.constant(phase),
    )

    seeds = tf.unstack(tf.random.split(seed, num=4))
    row, column = attack._window(seeds[0], tf.constant(side))[1].numpy()
    other_row, other_column = attack._window(seeds[1], tf.constant(side))[1].numpy()
    assert (row, column) != (other_row, other_column)
    signs = np.sign(tf.random.stateless_uniform([1, 1, 2], seeds[2]).numpy() - 0.5)
    turned = int(tf.random.stateless_uniform([], seeds[3], 0, 2, tf.int32))
    hills = two_hills(side).T if turned else two_hills(side)
    here = (slice(row, row + side), slice(column, column + side))
    there = (slice(other_row, other_row + side), slice(other_column, other_column + side))
    for example, result in zip(change, (tried - images).numpy(), strict=True):
        unused = max(eps**2 - (example**2).sum(), 0) / 2  # two channels
        both = np.zeros(SHAPE)
        both[here], both[there] = example[here], example[there]
        old = example[here]
        fresh = hills[:, :, None] * signs + old / np.sqrt((old**2).sum(axis=(0, 1)))
        fresh *= np.sqrt(unused + (both**2).sum(axis=(0, 1))) / np.sqrt((fresh**2).sum(axis=(0, 1)))
        moved = example.copy()
        moved[there] = 0
        moved[here] = fresh
        expected = moved * eps / np.linalg.norm(moved)
        np.testing.assert_allclose(result, expected, atol=2e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_margin_only_falls(images, norm):
    """A linear margin: longer searches of one and the same seed end lower than their start."""
    weights = tf.random.stateless_normal([8 * 6 * 2, 3], [4, 4])

    def model(inputs):
        return tf.reshape(inputs, [-1, 96]) @ weights + [9.0, 0.0, 0.0]

    def margins(inputs):
        logits = model(tf.constant(inputs)).numpy()
        return logits[:, 0] - logits[:, 1:].max(axis=1)

    attack = Square(model, SHAPE, norm, 300)
    found = attack(images, np.zeros(5, int), eps=0.05).numpy()
    start = Square(model, SHAPE, norm, 1)(images, np.zeros(5, int), eps=0.05).numpy()
    assert (margins(found) < margins(start)).all()
    assert (margins(found) < margins(images)).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [0.0, 0.1, 5.0])
@pytest.mark.parametrize("classes", [2, 100])
def test_edges(norm, eps, classes):
    """Images at 0 and 1, any radius, few and many classes; alone as in company."""
    weights = tf.random.stateless_normal([96, classes], [1, 2])

    def model(inputs):
        return tf.reshape(inputs, [-1, 96]) @ weights

    images = np.random.default_rng(0).integers(0, 2, (3, *SHAPE)).astype(np.float32)
    labels = np.argmax(model(tf.constant(images)), axis=1)
    attack = Square(model, SHAPE, norm, 40)
    found = attack(images, labels, eps=eps, seed=7).numpy()
    assert found.min() >= 0
    assert found.max() <= 1
    change = (found - images).reshape(3, -1)
    size = np.abs(change).max(axis=1) if norm == "linf" else np.linalg.norm(change, axis=1)
    assert (size <= eps * (1 + 1e-5)).all()
    alone = attack(images[1:2], labels[1:2], eps=eps, seed=7, example_ids=[1]).numpy()
    np.testing.assert_allclose(alone[0], found[1], atol=1e-6)


def test_a_broken_example_stays_as_it_is():
    """The model errs at every start, so the start is what is found, however many queries."""

    def model(inputs):
        return tf.zeros([tf.shape(inputs)[0], 2]) + tf.constant([0.0, 1.0])

    images = np.full((2, *SHAPE), 0.5, np.float32)
    few = square(model, images, [0, 0], eps=0.1, queries=1)
    many = square(model, images, [0, 0], eps=0.1, queries=50)
    np.testing.assert_array_equal(few, many)


@pytest.mark.parametrize(
    ("values", "name"), [({"norm": "l1"}, "norm"), ({"queries": 0}, "queries")]
)
def test_bad_settings_are_refused(values, name):
    with pytest.raises(ValueError, match=f"^{name} must be .* Received"):
        Square(constant_model, SHAPE, **values)


def test_what_a_query_only_repeats_is_not_asked_again():
    """The same as query by query, while the network sees little: of 16 pixels there are 32 moves.

    On a linear margin each pixel ends at its better bound, after which every move fails.
    """
    shape, queries, eps = (4, 4, 1), 200, 0.1
    rng = np.random.default_rng(8)
    pixels = tf.constant(rng.uniform(0.3, 0.7, (5, *shape)), tf.float32)
    weights = rng.normal(size=(16, 2)).astype(np.float32)
    seen = []

    def noted(inputs):
        seen.append(len(inputs))
        return inputs

    def model(inputs):
        values = tf.numpy_function(noted, [inputs], tf.float32)
        return tf.reshape(values, [-1, 16]) @ weights + [9.0, 0.0]

    attack = Square(model, shape, "linf", queries)
    found = attack(pixels, np.zeros(5, int), eps=eps, seed=2)
    asked = sum(seen)

    stripes = [attack._stripes(tf.constant([2, example])) for example in range(5)]
    best = pixels + eps * tf.stack(stripes)
    highest = model(best)[:, 1] - model(best)[:, 0]
    for query, phase in enumerate(attack._phases):
        side, query_seed = tf.constant(attack._sides[phase]), tf.constant([2, query])
        tried = attack._flipped_square(best, pixels, eps, query_seed, side, phase)
        margins = model(tried)[:, 1] - model(tried)[:, 0]
        kept = (margins > highest)[:, None, None, None]
        best, highest = tf.where(kept, tried, best), tf.maximum(margins, highest)
    np.testing.assert_allclose(found, best, atol=1e-6)
    assert asked < 5 * queries / 2
