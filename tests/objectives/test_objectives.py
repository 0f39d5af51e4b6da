"""Every training method against the same method in float64 NumPy on a linear network."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.layers import ClusteringHead
from clustr_tf.objectives import FreeTraining, ObjectiveConfig, build_objective
from tests.objectives import reference

RNG = np.random.default_rng(5)
PIXELS = RNG.uniform(0.05, 0.95, size=(8, 3)).astype(np.float32).astype(np.float64)
CLASSES = np.array([0, 0, 0, 1, 1, 1, 2, 2])
WEIGHTS = RNG.normal(size=(3, 2)).astype(np.float32).astype(np.float64)
CENTROIDS = RNG.normal(size=(3, 2)).astype(np.float32).astype(np.float64)
VARIANCE = 0.5
DENSE = RNG.normal(size=(2, 3)).astype(np.float32).astype(np.float64)
EPS, ALPHA, SEED = 0.1, 3.0, (3, 4)


def _classifier(head, std=1.0):
    """Embedding = W^T (pixels / std)."""
    inputs = keras.Input((1, 3, 1))
    dense = keras.layers.Dense(2, use_bias=False, name="weights")
    backbone = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    dense.kernel.assign(WEIGHTS)
    return Classifier(backbone, head, mean=[0.0], std=[std])


def _clustered():
    head = ClusteringHead(3, 1)
    head.set_clusters(CENTROIDS, VARIANCE)
    return _classifier(head)


def _dense():
    classifier = _classifier(keras.layers.Dense(3))
    classifier.head.kernel.assign(DENSE)
    return classifier


def _losses_and_gradient(classifier, config, progress=0.0):
    """Losses of the objective and the gradient of their mean for the embedding's weights."""
    objective = build_objective(config)
    images = tf.constant(PIXELS.reshape(8, 1, 3, 1), tf.float32)
    targets = tf.constant(np.stack([CLASSES, CLASSES], axis=1))

    @tf.function
    def run():
        with tf.GradientTape() as tape:
            losses = objective.losses(
                classifier, images, targets, tf.constant(SEED), tf.constant(progress)
            )
            loss = tf.reduce_mean(losses.total)
        kernel = classifier.backbone.get_layer("weights").kernel
        return losses, tape.gradient(loss, kernel.value)

    losses, gradient = run()
    return losses, gradient.numpy()


def _scores(embeddings):
    return reference.cluster_log_scores(embeddings, CENTROIDS, VARIANCE)


def _check(config, classifier, total, progress=0.0):
    """`total(weights)`: the expected loss of every example."""
    losses, gradient = _losses_and_gradient(classifier, config, progress)
    np.testing.assert_allclose(losses.total, total(WEIGHTS), rtol=2e-4, atol=1e-5)
    expected = reference.differences(lambda weights: total(weights).mean(), WEIGHTS)
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(gradient, expected, rtol=2e-3, atol=2e-4)
    return losses


def _magnet(weights):
    return reference.magnet(PIXELS @ weights, CLASSES, ALPHA)


def _own_distances(embeddings):
    """|z - mu_y|^2 / (2 sigma^2), one cluster a class."""
    return ((embeddings - CENTROIDS[CLASSES]) ** 2).sum(axis=1) / (2 * VARIANCE)


def test_clustr_is_the_magnet_loss():
    losses = _check(ObjectiveConfig("clustr", alpha=ALPHA), _clustered(), _magnet)
    np.testing.assert_allclose(losses.remembered, losses.total)


def test_clustr_with_cross_entropy_of_the_log_scores():
    def total(weights):
        xent = reference.cross_entropy(_scores(PIXELS @ weights), CLASSES)
        return _magnet(weights) + 0.5 * xent

    config = ObjectiveConfig("clustr", alpha=ALPHA, xent_lambda=0.5)
    losses = _check(config, _clustered(), total)
    np.testing.assert_allclose(losses.remembered, _magnet(WEIGHTS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("magnet_lambda", [0.0, 0.5])
def test_clustr_certified_pushes_distances_to_bisectors_beyond_the_margin(magnet_lambda):
    margin, temperature = 0.4, 0.2

    def total(weights):
        radii = reference.bisector_distances(PIXELS @ weights, CENTROIDS, CLASSES)
        lacking = (margin - radii) / temperature
        certified = temperature * np.log(1 + np.exp(lacking).sum(axis=1))
        return certified + (magnet_lambda * _magnet(weights) if magnet_lambda else 0)

    config = ObjectiveConfig(
        "clustr_certified",
        alpha=ALPHA,
        margin=margin,
        temperature=temperature,
        centroids="refreshed",
        magnet_lambda=magnet_lambda,
    )
    _check(config, _clustered(), total)


@pytest.mark.parametrize("magnet_lambda", [0.0, 0.5])
def test_clustr_ibp_descends_the_worst_case_of_the_box(magnet_lambda):
    """At a tenth of the training, warm-up 0.4: eps and weight at a quarter of 0.1 and 0.8.

    On a linear network and with one cluster a class, the margin to class k is linear in the
    embedding, and the box of embeddings is |W|^T times that of the pixels.
    """
    weight, eps = 0.25 * 0.8, 0.25 * EPS

    def total(weights):
        lower, upper = np.clip(PIXELS - eps, 0, 1), np.clip(PIXELS + eps, 0, 1)
        centre = (lower + upper) / 2 @ weights
        radius = (upper - lower) / 2 @ np.abs(weights)
        distances = ((centre[:, None] - CENTROIDS[None]) ** 2).sum(axis=2)
        moves = np.abs(CENTROIDS[CLASSES][:, None] - CENTROIDS[None]) * radius[:, None]
        own = distances[np.arange(len(CLASSES)), CLASSES][:, None]
        lead = (distances - own - 2 * moves.sum(axis=2)) / (2 * VARIANCE)
        clean = reference.cross_entropy(_scores(PIXELS @ weights), CLASSES)
        losses = (1 - weight) * clean + weight * reference.cross_entropy(-lead, CLASSES)
        return losses + (magnet_lambda * _magnet(weights) if magnet_lambda else 0)

    config = ObjectiveConfig(
        "clustr_ibp",
        alpha=ALPHA,
        eps=EPS,
        interval_lambda=0.8,
        warmup=0.4,
        centroids="refreshed",
        magnet_lambda=magnet_lambda,
    )
    losses = _check(config, _clustered(), total, progress=0.1)
    assert {"xent", "worst_xent"} <= set(losses.parts)
    assert float(losses.parts["worst_xent"]) > float(losses.parts["xent"])


def test_the_warm_up_of_clustr_ibp_ends():
    """Before it nothing of the worst case counts; after it, all."""
    config = ObjectiveConfig("clustr_ibp", eps=EPS, interval_lambda=1.0, warmup=0.4)
    start, _ = _losses_and_gradient(_clustered(), config, progress=0.0)
    clean = reference.cross_entropy(_scores(PIXELS @ WEIGHTS), CLASSES)
    np.testing.assert_allclose(start.total, clean, rtol=1e-4, atol=1e-5)
    end, late = (
        _losses_and_gradient(_clustered(), config, progress=progress)[0] for progress in (0.4, 0.9)
    )
    np.testing.assert_allclose(end.total, late.total, rtol=1e-6)
    assert np.all(end.total.numpy() > start.total.numpy())


@pytest.mark.parametrize("name", ["clustr", "clustr_qtrades"])
def test_only_the_nearest_clusters_have_a_score_inside_the_loss(name):
    """With L = 1 the nearest cluster's class has probability 1: cross-entropy is 0 or about 1000.

    The same of the companion, whose answers are held against themselves.
    """
    nearest = np.argmax(_scores(PIXELS @ WEIGHTS), axis=1)
    assert 0 < np.mean(nearest == CLASSES) < 1
    losses, _ = _losses_and_gradient(
        _clustered(), ObjectiveConfig(name, alpha=ALPHA, xent_lambda=1.0, nearest=1, eps=0.0)
    )
    xent = (losses.total - losses.remembered).numpy()
    np.testing.assert_allclose(xent[nearest == CLASSES], 0, atol=1e-4)
    assert (xent[nearest != CLASSES] > 900).all()


@pytest.mark.parametrize(
    ("name", "consistency", "measure", "step", "steps"),
    [
        ("clustr_qtrades", None, reference.soft_cross_entropy, 1.25, 1),
        ("clustr_trades", None, reference.kl, 0.25, 10),
        ("clustr_qtrades", "kl", reference.kl, 1.25, 1),
        ("clustr_trades", "cross_entropy", reference.soft_cross_entropy, 0.25, 10),
        ("clustr_qtrades", "mse", reference.mse, 1.25, 1),
    ],
)
def test_clustr_with_a_companion(name, consistency, measure, step, steps):
    """The companion ascends the inconsistency with the answers for the image held constant."""

    def answers(embeddings):
        return embeddings if consistency == "mse" else _scores(embeddings)

    clean = answers(PIXELS @ WEIGHTS)
    companions = reference.sign_steps(
        lambda pixels: measure(clean, answers(pixels @ WEIGHTS)).sum(),
        PIXELS,
        reference.uniform_start(PIXELS, EPS, SEED),
        EPS,
        step * EPS,
        steps,
    )
    assert np.abs(companions - PIXELS).max() == pytest.approx(EPS, abs=1e-6)

    def total(weights):
        clean, moved = answers(PIXELS @ weights), answers(companions @ weights)
        return _magnet(weights) + 8 * measure(clean, moved)

    config = ObjectiveConfig(name, alpha=ALPHA, eps=EPS, consistency=consistency)
    losses = _check(config, _clustered(), total)
    np.testing.assert_allclose(losses.remembered, _magnet(WEIGHTS), rtol=1e-4, atol=1e-5)
    assert set(losses.parts) == {"magnet", "consistency"}


def test_published_steps_are_standardised():
    """A step of 0.03 standard deviations of 0.5 is 0.015 in pixels."""
    classifier = _classifier(ClusteringHead(3, 1), std=0.5)
    classifier.head.set_clusters(CENTROIDS, VARIANCE)
    clean = _scores(2 * PIXELS @ WEIGHTS)
    companions = reference.sign_steps(
        lambda pixels: reference.kl(clean, _scores(2 * pixels @ WEIGHTS)).sum(),
        PIXELS,
        reference.uniform_start(PIXELS, EPS, SEED),
        EPS,
        0.015,
        3,
    )

    def total(weights):
        clean, moved = _scores(2 * PIXELS @ weights), _scores(2 * companions @ weights)
        magnet = reference.magnet(2 * PIXELS @ weights, CLASSES, ALPHA)
        return magnet + 8 * reference.kl(clean, moved)

    config = ObjectiveConfig(
        "clustr_trades", alpha=ALPHA, eps=EPS, step_size=0.03, standardised_steps=True, steps=3
    )
    _check(config, classifier, total)


def test_nominal_is_the_cross_entropy():
    def total(weights):
        return reference.cross_entropy(PIXELS @ weights @ DENSE, CLASSES)

    _check(ObjectiveConfig("nominal"), _dense(), total)


@pytest.mark.parametrize(("name", "step", "steps"), [("pgd_at", 0.25, 7), ("fast_at", 1.25, 1)])
def test_adversarial_training_descends_at_the_adversary(name, step, steps):
    adversarial = reference.sign_steps(
        lambda pixels: reference.cross_entropy(pixels @ WEIGHTS @ DENSE, CLASSES).sum(),
        PIXELS,
        reference.uniform_start(PIXELS, EPS, SEED),
        EPS,
        step * EPS,
        steps,
    )

    def total(weights):
        return reference.cross_entropy(adversarial @ weights @ DENSE, CLASSES)

    _check(ObjectiveConfig(name, eps=EPS), _dense(), total)
    assert build_objective(ObjectiveConfig(name)).centroids is None


@pytest.mark.parametrize("likelihood_lambda", [0.0, 0.25])
def test_clustr_at_descends_at_the_adversary_of_its_log_scores(likelihood_lambda):
    adversarial = reference.sign_steps(
        lambda pixels: reference.cross_entropy(_scores(pixels @ WEIGHTS), CLASSES).sum(),
        PIXELS,
        reference.uniform_start(PIXELS, EPS, SEED),
        EPS,
        1.25 * EPS,
        1,
    )

    def total(weights):
        xent = reference.cross_entropy(_scores(adversarial @ weights), CLASSES)
        return xent + likelihood_lambda * _own_distances(adversarial @ weights)

    config = ObjectiveConfig("clustr_at", eps=EPS, likelihood_lambda=likelihood_lambda)
    losses = _check(config, _clustered(), total)
    assert ("likelihood" in losses.parts) == (likelihood_lambda > 0)
    assert build_objective(config).centroids == "learned"


def test_trades_starts_beside_the_image():
    clean = PIXELS @ WEIGHTS @ DENSE
    companions = reference.sign_steps(
        lambda pixels: reference.kl(clean, pixels @ WEIGHTS @ DENSE).sum(),
        PIXELS,
        reference.gaussian_start(PIXELS, SEED),
        EPS,
        0.25 * EPS,
        10,
    )

    def total(weights):
        clean, moved = PIXELS @ weights @ DENSE, companions @ weights @ DENSE
        return reference.cross_entropy(clean, CLASSES) + 6 * reference.kl(clean, moved)

    _check(ObjectiveConfig("trades", eps=EPS), _dense(), total)


@pytest.mark.parametrize(
    ("magnet_lambda", "likelihood_lambda"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.25)]
)
def test_clustr_robust_clusters_what_its_adversary_finds(magnet_lambda, likelihood_lambda):
    """Three steps of eps / 2 from beside the image; what clusters is told of the companions."""
    clean = _scores(PIXELS @ WEIGHTS)
    companions = reference.sign_steps(
        lambda pixels: reference.kl(clean, _scores(pixels @ WEIGHTS)).sum(),
        PIXELS,
        reference.gaussian_start(PIXELS, SEED),
        EPS,
        0.5 * EPS,
        3,
    )

    def total(weights):
        clean, moved = _scores(PIXELS @ weights), _scores(companions @ weights)
        losses = reference.cross_entropy(clean, CLASSES) + 6 * reference.kl(clean, moved)
        if likelihood_lambda:
            losses = losses + likelihood_lambda * _own_distances(companions @ weights)
        return losses + magnet_lambda * reference.magnet(companions @ weights, CLASSES, ALPHA)

    config = ObjectiveConfig(
        "clustr_robust",
        alpha=ALPHA,
        eps=EPS,
        magnet_lambda=magnet_lambda,
        likelihood_lambda=likelihood_lambda,
    )
    losses = _check(config, _clustered(), total)
    assert ("magnet" in losses.parts) == (magnet_lambda > 0)
    assert ("likelihood" in losses.parts) == (likelihood_lambda > 0)


@pytest.mark.parametrize("name", ["clustr_robust", "clustr_ibp"])
def test_the_likelihood_is_that_of_the_nearest_cluster_of_the_label(name):
    """Companions in a ball of radius 0 are the images themselves."""
    centroids = np.random.default_rng(5).normal(size=(6, 2)).astype(np.float32)
    head = ClusteringHead(3, 2)
    head.set_clusters(centroids, VARIANCE)
    config = ObjectiveConfig(name, eps=0.0, likelihood_lambda=0.25)
    losses, _ = _losses_and_gradient(_classifier(head), config)
    squares = ((PIXELS @ WEIGHTS)[:, None] - centroids[None].astype(np.float64)) ** 2
    distances = squares.sum(axis=2).reshape(-1, 3, 2)
    own = distances[np.arange(len(CLASSES)), CLASSES].min(axis=1) / (2 * VARIANCE)
    assert float(losses.parts["likelihood"]) == pytest.approx(own.mean(), rel=1e-5)


@pytest.mark.parametrize("name", ["clustr_free", "free_at"])
def test_free_methods_replay_four_times(name):
    objective = build_objective(ObjectiveConfig(name, alpha=ALPHA, eps=EPS))
    assert objective.free == FreeTraining(replays=4, eps=EPS)
    assert build_objective(ObjectiveConfig(name, replays=7)).free.replays == 7


def test_free_losses_are_those_of_the_perturbed_images():
    _check(ObjectiveConfig("clustr_free", alpha=ALPHA), _clustered(), _magnet)
    _check(
        ObjectiveConfig("free_at"),
        _dense(),
        lambda weights: reference.cross_entropy(PIXELS @ weights @ DENSE, CLASSES),
    )


@pytest.mark.parametrize(
    ("warmup", "progress", "share"), [(None, 0.0, 1), (0.5, 0.125, 0.25), (0.5, 0.75, 1)]
)
def test_the_adversary_leaves_the_moving_averages_alone(warmup, progress, share):
    """Batch normalisation, momentum 0.5, mean 0 before: one training pass leaves half its mean.

    All pixels are 0.5 and the adversary moves each by its radius up or down: whichever way, a pass
    in training mode over the adversarial batch moves the average to half of that batch's mean.
    """
    inputs = keras.Input((1, 1, 1))
    norm = keras.layers.BatchNormalization(momentum=0.5, center=False, scale=False)
    backbone = keras.Model(inputs, keras.layers.Flatten()(norm(inputs)))
    classifier = Classifier(backbone, keras.layers.Dense(2), mean=[0.0], std=[1.0])
    classifier.head.kernel.assign([[1.0, -1.0]])
    # Class 0 has the higher score the brighter the pixel, so the adversary darkens all; four steps
    # of EPS / 2 reach the edge of the ball from any start; in a warm-up both are a share of it.
    config = ObjectiveConfig("pgd_at", eps=EPS, step_size=EPS / 2, steps=4, warmup=warmup)
    objective = build_objective(config)
    images, targets = tf.fill([4, 1, 1, 1], 0.5), tf.zeros([4, 2], tf.int64)
    losses = tf.function(objective.losses)
    losses(classifier, images, targets, tf.constant(SEED), tf.constant(progress))
    assert float(norm.moving_mean[0]) == pytest.approx((0.5 - share * EPS) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": "magic"}, "name"),
        ({"name": "clustr", "consistency": "mse"}, "consistency"),
        ({"name": "clustr", "replays": 4}, "replays"),
        ({"name": "nominal", "xent_lambda": 1.0}, "xent_lambda"),
        ({"name": "trades", "consistency": "mse"}, "consistency"),
        ({"name": "clustr_trades", "consistency": "l1"}, "consistency"),
        ({"name": "clustr_qtrades", "consistency_lambda": -1.0}, "consistency_lambda"),
        ({"name": "clustr_trades", "standardised_steps": True}, "step_size"),
        ({"name": "pgd_at", "steps": 0}, "steps"),
        ({"name": "free_at", "replays": 0}, "replays"),
        ({"name": "pgd_at", "eps": float("nan")}, "eps"),
        ({"name": "clustr", "alpha": -1.0}, "alpha"),
        ({"name": "clustr", "epsilon": 1.0}, "epsilon"),
        ({"name": "clustr", "nearest": 0}, "nearest"),
        ({"name": "clustr", "warmup": 0.5}, "warmup"),
        ({"name": "clustr_ibp", "warmup": 1.5}, "warmup"),
        ({"name": "clustr_ibp", "interval_lambda": -0.5}, "interval_lambda"),
        ({"name": "clustr_ibp", "magnet_lambda": 0.5}, "magnet_lambda"),
        ({"name": "clustr_robust", "magnet_lambda": -0.5}, "magnet_lambda"),
        ({"name": "clustr_robust", "likelihood_lambda": -0.5}, "likelihood_lambda"),
        ({"name": "clustr", "likelihood_lambda": 0.5}, "likelihood_lambda"),
    ],
)
def test_what_a_method_does_not_take_is_refused(values, field):
    with pytest.raises(ValueError, match=rf"^{field} must .*Received"):
        ObjectiveConfig(**values)
