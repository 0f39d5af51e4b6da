"""PGD against CleverHans itself, the official code's numbers and hand derivations."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cleverhans.tf2.attacks import projected_gradient_descent as cleverhans_pgd
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from clustr_tf.attacks import ATTACK_LOSSES, PGD, CompiledPGD, apgd, fab, pgd, square
from clustr_tf.attacks.balls import NORMS
from clustr_tf.attacks.pgd import restart_seed

SHAPE = (5, 4, 2)
IMAGES = np.random.default_rng(0).uniform(size=(6, *SHAPE)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize("random_start", [False, True])
def test_numbers_of_cleverhans_called_eagerly(network, monkeypatch, norm, loss, random_start):
    """Difference 0, in both norms."""
    attack = CompiledPGD(network, SHAPE, norm, loss)
    start = attack.random_start(IMAGES, 0.1, seed=3) if random_start else IMAGES
    if random_start:
        perturbation = start - IMAGES
        monkeypatch.setattr(cleverhans_pgd, "random_lp_vector", lambda *_, **__: perturbation)
    expected = cleverhans_pgd.projected_gradient_descent(
        network,
        tf.constant(IMAGES),
        tf.constant(0.1),
        tf.constant(0.03),
        7,
        NORMS[norm],
        loss_fn=ATTACK_LOSSES[loss],
        clip_min=0.0,
        clip_max=1.0,
        y=tf.constant(LABELS),
        rand_init=random_start,
    )
    actual = attack(IMAGES, LABELS, start, eps=0.1, step_size=0.03, steps=7)
    assert np.abs(actual - IMAGES).max() > 0.02
    np.testing.assert_array_equal(actual, expected)


class _Published:
    """The tiny network of `e_attack` in float32, with the scores that the official code attacks."""

    def __init__(self, golden):
        self._read = lambda key: golden[f"e_attack/{key}"]
        self._kernel = tf.constant(self._read("conv_w_oihw").transpose(2, 3, 1, 0), tf.float32)
        for name in ("conv_b", "linear_A", "linear_c", "mean", "std", "centroids"):
            setattr(self, name, tf.constant(self._read(name), tf.float32))
        self.images = self._nhwc("images_pixels_nchw").astype(np.float32)

    def _nhwc(self, key):
        return self._read(key).transpose(0, 2, 3, 1)

    def embed(self, images):
        x = (images - self.mean) / self.std
        x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
        x = tf.nn.relu(tf.nn.conv2d(x, self._kernel, 2, "VALID") + self.conv_b)
        flat = tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [tf.shape(x)[0], -1])
        return flat @ tf.transpose(self.linear_A) + self.linear_c

    def scores(self, images):
        """exp(log-scores) of the L nearest clusters: what the official code calls logits."""
        differences = self.embed(images)[:, None] - self.centroids
        variance = float(self._read("variance")[0])
        scores = tf.exp(-tf.reduce_sum(differences**2, axis=2) / (2 * variance))
        kept = scores >= tf.math.top_k(scores, int(self._read("L")))[0][:, -1:]
        by_class = tf.reshape(tf.where(kept, scores, 0.0), [-1, 4, int(self._read("K"))])
        return tf.reduce_sum(by_class, axis=2)

    def assert_adversarial(self, case, adversarial):
        """Pixels whose start gradient is nearly 0 may take either sign in float32: left out."""
        gradient = self._nhwc("cross_ent/f64/start_gradient_wrt_normalised_pixels")
        clear = np.abs(gradient) > 1e-6 * np.abs(gradient).max()
        assert clear.mean() > 0.9
        expected = self._nhwc(f"{case}/f64/adv_pixels")
        assert np.abs(expected - self.images).max() > 0.01
        np.testing.assert_allclose(np.asarray(adversarial)[clear], expected[clear], atol=1e-5)


PUBLISHED_STEP = {"eps": 8 / 255, "step_size": 10 / 255}


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1e-7, 1e20])
def test_no_scale_of_the_log_scores_stalls_the_steps(norm, loss, scale):
    """The boundary is at 0.5, the image at 0.4, the radius 0.2: seven steps of 0.03 end at 0.6.

    At scales above 1 a cross-entropy saturates: its gradient is 0 and no step is right.
    """

    def model(images):
        pixel = images[:, 0, 0]
        return scale * tf.concat([0.5 - pixel, pixel - 0.5], axis=1)

    if loss == "ce" and scale > 1:
        return
    image = np.full((1, 1, 1, 1), 0.4, np.float32)
    found = CompiledPGD(model, (1, 1, 1), norm, loss)(
        image, [0], image, eps=0.2, step_size=0.03, steps=7
    )
    np.testing.assert_allclose(tf.squeeze(found), 0.6, rtol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("find", [pgd, apgd])
def test_a_gradient_that_is_not_a_number_finds_no_image_that_is_none(norm, find):
    """The slope of the root at 0, times 0, is NaN; all images of the ball are class 1."""

    def model(images):
        pixel = images[:, 0, 0]
        score = 0.9 - pixel + 1e-3 * tf.sqrt(tf.nn.relu(pixel - 0.5))
        return tf.concat([-score, score], axis=1)

    image = np.full((1, 1, 1, 1), 0.4, np.float32)
    found = find(model, image, [1], eps=0.05, norm=norm, steps=5)
    assert abs(float(found[0, 0, 0, 0]) - 0.4) <= 0.05 * (1 + 1e-6)
    assert int(tf.argmax(model(found), axis=1)[0]) == 1


@pytest.mark.parametrize("labels", [[0.7], [np.nan], [-1], [2], ["0"]])
@pytest.mark.parametrize("find", [pgd, apgd, fab, square])
def test_labels_that_are_no_classes_are_refused(find, labels):
    model = lambda images: tf.concat([0.5 - images[:, 0, 0], images[:, 0, 0] - 0.5], 1)  # noqa: E731
    image = np.full((1, 1, 1, 1), 0.4, np.float32)
    with pytest.raises(ValueError, match=r"^labels must be whole numbers from 0 to 1. Received: "):
        find(model, image, np.array(labels), eps=0.1)


@pytest.fixture
def published(golden):
    network = _Published(golden)
    np.testing.assert_allclose(
        network.embed(network.images), golden["e_attack/f64/embeddings_clean"], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        network.scores(network.images), golden["e_attack/f64/scores_clean"], rtol=1e-4
    )
    return network


@pytest.mark.parametrize(("case", "steps"), [("cross_ent", 1), ("cross_ent_3_iterations", 3)])
def test_published_attack_on_the_scores(golden, published, case, steps):
    """Soft-label cross-entropy to the clean probabilities, step 10/255, eps 8/255, no noise."""
    probabilities = golden["e_attack/f64/probs_clean"].astype(np.float32)
    images = published.images
    attack = CompiledPGD(published.scores, images.shape[1:], "linf", _soft_cross_entropy)
    adversarial = attack(images, probabilities, images, **PUBLISHED_STEP, steps=steps)
    published.assert_adversarial(case, adversarial)


def test_published_attack_of_actual_trades(golden, published):
    """KL to the clean probabilities, 10 steps of 0.03 standardised: 0.03 std in each channel.

    KL and soft-label cross-entropy differ by a constant of the target: the same gradient.
    """
    probabilities = golden["e_attack/f64/probs_clean"].astype(np.float32)
    images = published.images
    attack = CompiledPGD(published.scores, images.shape[1:], "linf", _soft_cross_entropy)
    adversarial = attack(
        images, probabilities, images, eps=8 / 255, step_size=0.03 * published.std, steps=10
    )
    published.assert_adversarial("kl_actual_trades", adversarial)


def test_published_attack_on_embeddings(golden, published):
    """Squared error to given embeddings; to its own, the gradient is 0 and nothing moves."""

    def squared_error(labels, logits):
        return tf.reduce_mean((logits - labels) ** 2, axis=1)

    images = published.images
    attack = CompiledPGD(published.embed, images.shape[1:], "linf", squared_error)
    target = golden["e_attack/mse_target_embeddings"].astype(np.float32)
    adversarial = attack(images, target, images, **PUBLISHED_STEP, steps=1)
    expected = golden["e_attack/mse_shifted_target/f64/adv_pixels"].transpose(0, 2, 3, 1)
    close = np.isclose(adversarial, expected, atol=1e-5)
    assert close.mean() > 0.99
    own = tf.function(published.embed)(images)  # compiled as in the attack, to the last bit
    still = attack(images, own, images, **PUBLISHED_STEP, steps=1)
    np.testing.assert_array_equal(still, images)
    unmoved = golden["e_attack/mse_same_target/f64/adv_pixels"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(still, unmoved, atol=1e-6)


def _soft_cross_entropy(labels, logits):
    return tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def test_one_step_on_a_linear_classifier_by_hand():
    """Logits (0, w.x) with w = (1, -2, 0): for label 0 the cross-entropy grows along w.

    From (0.5, 0.5, 0.5) with step 0.3 and eps 0.2, l-infinity: the sign step (0.3, -0.3, 0) is
    projected to (0.2, -0.2, 0). l2: 0.3 w/|w| is projected to 0.2 w/|w|. From (0.95, 0.1, 0.5)
    the l-infinity result leaves [0, 1] and is clipped: (1, 0, 0.5).
    """
    weights = tf.constant([1.0, -2.0, 0.0])

    def logits(images):
        score = tf.reduce_sum(tf.reshape(images, [-1, 3]) * weights, axis=1)
        return tf.stack([tf.zeros_like(score), score], axis=1)

    images = np.array([[0.5, 0.5, 0.5], [0.95, 0.1, 0.5]], np.float32).reshape(2, 1, 1, 3)
    options = {"eps": 0.2, "step_size": 0.3, "steps": 1}
    linf = CompiledPGD(logits, (1, 1, 3), "linf")(images, [0, 0], images, **options)
    np.testing.assert_allclose(
        linf.numpy().reshape(2, 3), [[0.7, 0.3, 0.5], [1.0, 0.0, 0.5]], atol=1e-6
    )
    l2 = CompiledPGD(logits, (1, 1, 3), "l2")(images[:1], [0], images[:1], **options)
    expected = 0.5 + 0.2 * np.array([1, -2, 0]) / np.sqrt(5)
    np.testing.assert_allclose(l2.numpy().ravel(), expected, atol=1e-6)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    eps=st.sampled_from([0.0, 1e-3, 8 / 255, 0.3, 1.5]),
    norm=st.sampled_from(["linf", "l2"]),
    value=st.sampled_from([0.0, 0.5, 1.0]),
    batch=st.integers(1, 5),
)
def test_stays_in_the_ball_and_in_the_unit_interval(network, eps, norm, value, batch):
    images = np.full((batch, *SHAPE), value, np.float32)
    attack = CompiledPGD(network, SHAPE, norm)
    start = attack.random_start(images, eps, seed=1)
    adversarial = attack(images, LABELS[:batch], start, eps=eps, step_size=eps / 4, steps=3)
    for found in (start.numpy(), adversarial.numpy()):
        assert found.min() >= 0
        assert found.max() <= 1
        difference = (found - images).reshape(batch, -1)
        size = np.linalg.norm(difference, ord=NORMS[norm], axis=1)
        assert (size <= eps * (1 + 1e-5) + 1e-7).all()


def test_rows_do_not_depend_on_the_batch(network):
    attack = CompiledPGD(network, SHAPE)
    options = {"eps": 0.1, "step_size": 0.03, "steps": 4}

    def run(rows):
        start = attack.random_start(IMAGES[rows], 0.1, seed=5, example_ids=rows)
        return start, attack(IMAGES[rows], LABELS[rows], start, **options)

    start, adversarial = run(np.arange(6))
    for rows in ([4], [2, 0, 5], [5, 4, 3, 2, 1, 0]):
        some_start, some_adversarial = run(np.array(rows))
        np.testing.assert_array_equal(some_start, start.numpy()[rows])
        np.testing.assert_allclose(some_adversarial, adversarial.numpy()[rows], atol=1e-6)
    assert not np.allclose(start[0] - IMAGES[0], start[1] - IMAGES[1])


def test_random_starts_are_uniform_in_their_ball():
    """l-infinity: coordinates uniform in [-eps, eps]. l2 in dimension d: (r / eps)^d uniform."""
    images = np.full((400, 2, 2, 1), 0.5, np.float32)
    linf = CompiledPGD(lambda x: x, (2, 2, 1), "linf").random_start(images, 0.2) - images
    assert kstest(np.ravel(linf) / 0.2, "uniform", args=(-1, 2)).pvalue > 0.01
    l2 = CompiledPGD(lambda x: x, (2, 2, 1), "l2").random_start(images, 0.2) - images
    radii = np.linalg.norm(l2.numpy().reshape(400, 4), axis=1) / 0.2
    assert kstest(radii**4, "uniform").pvalue > 0.01
    assert np.abs(l2.numpy().mean(axis=0)).max() < 0.02


def test_a_ball_of_radius_zero_is_the_image(network):
    for norm in NORMS:
        options = {"eps": 0.0, "step_size": 0.1, "steps": 2, "norm": norm}
        np.testing.assert_array_equal(pgd(network, IMAGES, LABELS, **options), IMAGES)


def test_compiles_once_for_every_radius_and_batch(network):
    traces = []

    def counted(images):
        traces.append(images.shape)
        return network(images)

    attack = CompiledPGD(counted, SHAPE)
    for batch, eps, step_size, steps in [(6, 0.1, 0.03, 2), (4, 0.2, 0.05, 5), (1, 0.1, 0.3, 1)]:
        images, labels = IMAGES[:batch], LABELS[:batch]
        found = attack(images, labels, images, eps=eps, step_size=step_size, steps=steps)
        assert found.shape == images.shape
    assert len(traces) == 1


def test_worst_case_over_restarts_breaks_more_than_one_start(network):
    """A weak attack: one tiny step. What any restart breaks must be broken in the result."""
    options = {"eps": 0.3, "step_size": 1e-4, "steps": 1}
    predictions = np.argmax(network(IMAGES), axis=1)
    attack = CompiledPGD(network, SHAPE)
    broken = np.zeros(6, bool)
    for restart in range(8):
        start = attack.random_start(IMAGES, 0.3, restart_seed(0, restart))
        found = attack(IMAGES, predictions, start, **options)
        broken |= np.argmax(network(found), axis=1) != predictions
    assert 0 < broken.sum() < 6
    result = pgd(network, IMAGES, predictions, restarts=8, **options)
    np.testing.assert_array_equal(np.argmax(network(result), axis=1) != predictions, broken)


def _constant_sign(images):
    """Logits (1, -mean): class 0 everywhere, its cross-entropy falls as the mean grows."""
    mean = tf.reduce_mean(images, axis=[1, 2, 3])
    return tf.stack([tf.ones_like(mean), -mean], axis=1)


def test_what_nothing_breaks_keeps_the_start_of_highest_loss():
    """Steps of length 0 stay at the start, so that the darkest of the starts has highest loss."""
    images = np.full((3, *SHAPE), 0.5, np.float32)
    attack = CompiledPGD(_constant_sign, SHAPE)
    starts = [attack.random_start(images, 0.2, restart_seed(1, restart)) for restart in range(5)]
    means = np.mean(starts, axis=(2, 3, 4))
    assert set(means.argmin(axis=0)) != {4}
    options = {"eps": 0.2, "step_size": 0.0, "steps": 1, "restarts": 5}
    result = pgd(_constant_sign, images, [0, 0, 0], seed=1, **options)
    expected = np.array(starts)[means.argmin(axis=0), np.arange(3)]
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_what_a_start_breaks_keeps_the_first_that_does():
    """Label 1 is wrong everywhere: the first start stays although others have higher losses."""
    images = np.full((3, *SHAPE), 0.5, np.float32)
    first = CompiledPGD(_constant_sign, SHAPE).random_start(images, 0.2, restart_seed(1, 0))
    options = {"eps": 0.2, "step_size": 0.0, "steps": 1, "restarts": 5}
    result = pgd(_constant_sign, images, [1, 1, 1], seed=1, **options)
    np.testing.assert_allclose(result, first, atol=1e-6)


def test_a_start_may_be_given_and_belongs_to_the_id(network):
    options = {"eps": 0.1, "step_size": 0.03, "steps": 3}
    attack = CompiledPGD(network, SHAPE)
    expected = attack(IMAGES, LABELS, IMAGES, **options)
    given = pgd(network, IMAGES, LABELS, start=IMAGES, **options)
    np.testing.assert_array_equal(given, expected)
    together = pgd(network, IMAGES, LABELS, **options).numpy()
    rows = np.array([5, 0, 3])
    alone = pgd(network, IMAGES[rows], LABELS[rows], example_ids=rows, **options)
    np.testing.assert_allclose(alone, together[rows], atol=1e-6)
    assert np.abs(together - given).max() > 0.01


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"images": 2 * IMAGES + 1}, r"^images must be finite in \[0, 1\]"),
        ({"images": np.nan * IMAGES}, r"^images must be finite in \[0, 1\]"),
        ({"labels": np.eye(6)}, r"labels \[N\]"),
        ({"labels": 2 * LABELS}, r"^labels must be whole numbers from 0 to 1\. Received: 2"),
        ({"start": IMAGES, "restarts": 2}, "^restarts must be 1 .* Received: 2"),
    ],
)
def test_bad_examples_are_refused(values, message):
    arguments = {"images": IMAGES, "labels": LABELS, "eps": 0.1, "step_size": 0.1, "steps": 1}
    with pytest.raises(ValueError, match=message):
        pgd(_constant_sign, **{**arguments, **values})


def test_an_attack_by_its_radius_alone():
    """A quarter of 0.2 a step; `pgd` has the same defaults."""
    attack = PGD(eps=0.2)
    assert (attack.step_length, attack.step_ratio) == (0.05, 0.25)
    assert attack.describe() == "linf eps 0.2, 20 steps of 0.05, 1 start, ce + margin"
    assert PGD(eps=0.2, step_size=0.02, restarts=3).step_ratio == pytest.approx(0.1)
    assert PGD(eps=0.0, step_size=0.1).step_ratio == 0.25
    images = np.full((2, *SHAPE), 0.5, np.float32)
    found = pgd(_constant_sign, images, [0, 0], eps=0.2, start=images)
    expected = pgd(_constant_sign, images, [0, 0], eps=0.2, step_size=0.05, steps=20, start=images)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found, 0.3, atol=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        {"eps": -0.1},
        {"eps": float("nan")},
        {"step_size": -1.0},
        {"steps": 0},
        {"restarts": 0},
        {"norm": "l1"},
        {"losses": ()},
        {"losses": ("hinge",)},
    ],
)
def test_bad_settings_are_refused_by_name(values):
    (name,) = values
    with pytest.raises(ValueError, match=f"^{name} must be .* Received"):
        PGD(**{"eps": 0.1, "step_size": 0.02, "steps": 10, **values})
    if name in ("norm", "losses"):
        option = {"norm": values[name]} if name == "norm" else {"loss": "hinge"}
        with pytest.raises(ValueError, match="must be one of"):
            CompiledPGD(lambda x: x, SHAPE, **option)
