"""Auto-PGD against steps worked by hand and a NumPy run of the published algorithm."""

import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.attacks import APGD, TargetedAPGD, apgd
from clustr_tf.attacks.apgd import State, checkpoints, reconsidered
from clustr_tf.attacks.balls import boundary_perturbations

SHAPE = (2, 3, 1)


def test_checkpoints_by_hand():
    """Intervals 22, 19, 16, 13, 10, 7 and then never below 6."""
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    assert checkpoints(1) == (1,)
    # 22 % of 10 is 2, and every interval after it 1.
    assert checkpoints(10) == (2, 3, 4, 5, 6, 7, 8, 9, 10)


def _state(**values):
    """Four examples at a checkpoint; the iterate is 0.1 and the best point 0.9."""
    image = np.ones((4, 1, 1, 1), np.float32)
    state = {
        "images": 0.1 * image,
        "before": 0.1 * image,
        "gradient": 1 * image,
        "loss": np.zeros(4, np.float32),
        "best": 0.9 * image,
        "best_gradient": 9 * image,
        "best_loss": np.full(4, 2, np.float32),
        "broken": np.zeros(4, bool),
        "adversarial": image,
        "step": np.full(4, 0.8, np.float32),
        "increases": np.zeros(4, np.float32),
        "checked_loss": np.zeros(4, np.float32),
        "was_halved": np.ones(4, bool),
    }
    return State(**{name: tf.constant(values.get(name, state[name])) for name in state})


def test_the_step_is_halved_where_the_loss_rarely_rose():
    """Of 8 steps 6 are three quarters: 6 or fewer increases halve, 7 and 8 do not."""
    state = reconsidered(_state(increases=np.array([5, 6, 7, 8], np.float32)), tf.constant(8.0))
    np.testing.assert_allclose(state.step, [0.4, 0.4, 0.8, 0.8])
    np.testing.assert_allclose(tf.squeeze(state.images), [0.9, 0.9, 0.1, 0.1])
    np.testing.assert_allclose(tf.squeeze(state.gradient), [9, 9, 1, 1])
    np.testing.assert_array_equal(state.was_halved, [True, True, False, False])
    np.testing.assert_array_equal(state.increases, np.zeros(4))
    np.testing.assert_array_equal(state.checked_loss, state.best_loss)


def test_the_step_is_halved_where_neither_it_nor_the_best_loss_changed():
    """Enough increases everywhere; only the third kept its step and its best loss of 2."""
    state = _state(
        increases=np.full(4, 8, np.float32),
        was_halved=np.array([True, True, False, False]),
        checked_loss=np.array([1, 2, 2, 1], np.float32),
    )
    np.testing.assert_allclose(reconsidered(state, tf.constant(8.0)).step, [0.8, 0.8, 0.4, 0.8])


def test_between_checkpoints_nothing_isreconsidered():
    before = _state()
    after = reconsidered(before, tf.constant(0.0))
    for name, old, new in zip(before._fields, before, after, strict=True):
        np.testing.assert_array_equal(old, new, name)


@pytest.mark.parametrize(("norm", "second"), [("linf", 0.45), ("l2", 0.45)])
def test_momentum_by_hand(norm, second):
    """One pixel at 0.5, eps 0.2, steps of 0.4: up to 0.7, where the gradient turns around.

    Then a plain step would give 0.3; with momentum 0.7 + 0.75 (0.3 - 0.7) + 0.25 (0.7 - 0.5).
    """
    attack = APGD(lambda images: images[:, 0, 0], (1, 1, 1), norm)
    image = tf.fill([1, 1, 1, 1], 0.5)
    state = State(*[part[:1] for part in _state()])
    state = state._replace(images=image, before=image, step=tf.constant([0.4]))
    first = attack._moved(state, image, 0.2, 1.0)
    np.testing.assert_allclose(tf.squeeze(first.images), 0.7, rtol=1e-6)
    turned = first._replace(gradient=-first.gradient)
    np.testing.assert_allclose(
        tf.squeeze(attack._moved(turned, image, 0.2, 0.75).images), second, rtol=1e-6
    )


CENTRES = np.random.default_rng(3).uniform(0, 1, (4, 6))


def _clusters(images):
    """Logits -4 |x - c_k|^2 of four classes."""
    flat = tf.reshape(images, [-1, 6])
    centres = tf.constant(CENTRES, images.dtype)
    return -4 * tf.reduce_sum((flat[:, None] - centres) ** 2, axis=2)


def _reference(image, label, start, eps, norm, steps):
    """One example of the published algorithm in float64, with cross-entropy worked by hand."""

    def evaluated(x):
        logits = -4 * ((x - CENTRES) ** 2).sum(axis=1)
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        gradient = (probabilities - np.eye(4)[label]) @ (-8 * (x - CENTRES))
        return -np.log(probabilities[label]), gradient, logits.argmax() != label

    def into_ball(x):
        change = x - image
        if norm == "linf":
            change = np.clip(change, -eps, eps)
        elif np.linalg.norm(change) > eps:
            change = change * eps / np.linalg.norm(change)
        return np.clip(image + change, 0, 1)

    x = before = start
    loss, gradient, wrong = evaluated(x)
    best, best_gradient, best_loss = x, gradient, loss
    adversarial = x if wrong else None
    step, checked_loss, halved, increases, last = 2 * eps, loss, True, 0, 0
    for i in range(steps):
        ascent = np.sign(gradient) if norm == "linf" else gradient / np.linalg.norm(gradient)
        ahead = into_ball(x + step * ascent)
        share = 0.75 if i else 1.0
        x, before = into_ball(x + share * (ahead - x) + (1 - share) * (x - before)), x
        old, (loss, gradient, wrong) = loss, evaluated(x)
        increases += loss > old
        if wrong and adversarial is None:
            adversarial = x
        if loss > best_loss:
            best, best_gradient, best_loss = x, gradient, loss
        if i + 1 in checkpoints(steps):
            few = increases <= 0.75 * (i + 1 - last)
            halved = few or (not halved and checked_loss >= best_loss)
            if halved:
                step, x, gradient = step / 2, best, best_gradient
            checked_loss, increases, last = best_loss, 0, i + 1
    return best if adversarial is None else adversarial


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.05), ("linf", 0.2), ("l2", 0.1), ("l2", 0.4)])
def test_whole_runs_equal_numpy(norm, eps):
    """Among these examples some break and some do not, at both radii together."""
    images = np.random.default_rng(5).uniform(0, 1, (8, *SHAPE)).astype(np.float32)
    labels = np.argmax(_clusters(tf.constant(images)), axis=1)
    found = APGD(_clusters, SHAPE, norm, "ce", steps=30)(images, labels, eps=eps, seed=4)
    starts = images + boundary_perturbations(
        tf.range(8), SHAPE, tf.constant(eps), tf.constant(4), np.inf if norm == "linf" else 2
    )
    starts = np.clip(starts, 0, 1)
    for row in range(8):
        arguments = (images[row].ravel(), labels[row], starts[row].ravel(), eps, norm, 30)
        expected = _reference(*(np.asarray(a, float) if i in (0, 2) else a
                                for i, a in enumerate(arguments)))  # fmt: skip
        np.testing.assert_allclose(found[row].numpy().ravel(), expected, atol=2e-4)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("classes", [2, 100])
@pytest.mark.parametrize("targeted", [False, True])
def test_edges(norm, eps, classes, targeted):
    """Images at 0 and 1, radii of 0 and beyond the range, few and many classes, a batch of one."""
    weights = tf.random.stateless_normal([6, classes], [1, 2])

    def model(images):
        return tf.reshape(images, [-1, 6]) @ weights

    build = TargetedAPGD if targeted else APGD
    attack = build(model, SHAPE, norm, **({} if targeted else {"loss": "dlr"}), steps=5)
    images = np.random.default_rng(0).integers(0, 2, (3, *SHAPE)).astype(np.float32)
    labels = np.argmax(model(tf.constant(images)), axis=1)
    found = attack(images, labels, eps=eps, seed=7).numpy()
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1
    change = (found - images).reshape(3, -1)
    size = np.abs(change).max(axis=1) if norm == "linf" else np.linalg.norm(change, axis=1)
    assert (size <= eps * (1 + 1e-6)).all()
    alone = attack(images[1:2], labels[1:2], eps=eps, seed=7, example_ids=[1])
    np.testing.assert_allclose(alone[0], found[1], atol=1e-6)


def test_a_model_without_gradient_leaves_the_start():
    """tf.round has no gradient: the boundary start stays, no NaN."""
    images = np.full((1, *SHAPE), 0.5, np.float32)
    model = lambda x: tf.reshape(tf.round(x), [-1, 6])[:, :2] * 0 + [1.0, 0.0]  # noqa: E731
    for norm in ("linf", "l2"):
        found = apgd(model, images, [0], eps=0.1, norm=norm, steps=4)
        change = (found - images).numpy().ravel()
        size = np.abs(change).max() if norm == "linf" else np.linalg.norm(change)
        assert size == pytest.approx(0.1, rel=1e-5)


def test_a_tiny_gradient_is_enough():
    """A slope of 1e-30 leads an l2 attack straight to the boundary."""
    model = lambda x: tf.concat([x[:, 0, 0] * 0, x[:, 0, 0] * 1e-30 - 0.65e-30], 1)  # noqa: E731
    images = np.full((1, 1, 1, 1), 0.5, np.float32)
    found = apgd(model, images, [0], eps=0.2, norm="l2", loss="margin", steps=3)
    np.testing.assert_allclose(tf.squeeze(found), 0.7, rtol=1e-6)


def test_the_target_is_the_ranked_other_class():
    """Logits are the pixels (0.9, 0.1, 0.6, 0.3): the others rank 2, 3, 1.

    Towards rank 2 the attack raises the pixel of class 3 and lowers that of the label.
    """
    image = np.array([0.9, 0.1, 0.6, 0.3], np.float32).reshape(1, 2, 2, 1)
    attack = TargetedAPGD(lambda images: tf.reshape(images, [-1, 4]), (2, 2, 1), steps=30)
    found = attack(image, [0], eps=0.1, target_rank=2).numpy().ravel()
    assert found[0] == pytest.approx(0.8, abs=1e-5)
    assert found[3] == pytest.approx(0.4, abs=1e-5)


@pytest.mark.parametrize("rank", [0, 4])
def test_only_other_classes_are_targets(rank):
    """Four classes have three others."""
    attack = TargetedAPGD(_clusters, SHAPE)
    with pytest.raises(ValueError, match=f"^target_rank must be 1 to 3. Received: {rank}"):
        attack(np.zeros((1, *SHAPE)), [0], eps=0.1, target_rank=rank)


def test_it_ends_once_every_example_is_broken():
    """The model errs at every start: one evaluation, however many steps; else one for each step."""
    evaluations = tf.Variable(0)

    def model(images):
        evaluations.assign_add(1)
        right = tf.where(tf.reduce_mean(images, axis=[1, 2, 3]) > 0.5, 1.0, 0.0)
        return tf.stack([right, 0 * right + 0.5], axis=1) + 0 * tf.reduce_sum(images)

    for shade, expected in [(0.2, 1), (0.8, 8)]:
        evaluations.assign(0)
        APGD(model, SHAPE, steps=7)(np.full((2, *SHAPE), shade), [0, 0], eps=0.1)
        assert evaluations.numpy() == expected


def test_the_gradient_is_the_mean_over_draws():
    """The margin's slope is 1 plus noise of scale 3 from the model; 400 draws know its sign.

    One draw of four goes the wrong way in a third of the pixels: Phi(-1 / 3) = 0.37.
    """
    generator = tf.random.Generator.from_seed(1)

    def model(images):
        noise = generator.normal([6, 1], 1.0, 3.0)
        margin = tf.reshape(images - 0.5, [-1, 6]) @ noise
        return tf.concat([0 * margin + 10, margin], axis=1)

    images = np.full((1, *SHAPE), 0.5, np.float32)
    found = APGD(model, SHAPE, loss="margin", steps=1, draws=400)(images, [0], eps=0.1)
    # The step of twice the radius reaches the boundary from any start.
    np.testing.assert_allclose(found, images + 0.1, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"norm": "l1"}, "norm"),
        ({"loss": "x"}, "loss"),
        ({"steps": 0}, "steps and draws"),
        ({"draws": 0}, "steps and draws"),
    ],
)
def test_bad_settings_are_refused(values, name):
    with pytest.raises(ValueError, match=f"^{name} must be .* Received"):
        APGD(_clusters, SHAPE, **values)
