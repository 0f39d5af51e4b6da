"""Every training method against the same method in float64 NumPy on a linear network."""

from dataclasses import dataclass, fields

import keras
import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.layers import ClusteringHead
from clustr_tf.methods import (
    METHODS,
    PGDAT,
    Clustr,
    ClustrAT,
    ClustrCertified,
    ClustrFree,
    ClustrIBP,
    ClustrQTrades,
    ClustrRobust,
    ClustrTrades,
    FreeAT,
    FreeTraining,
    Method,
    Nominal,
    StepLosses,
    Trades,
)
from tests.methods import reference

RNG = np.random.default_rng(5)
PIXELS = RNG.uniform(0.05, 0.95, size=(8, 3)).astype(np.float32).astype(np.float64)
CLASSES = np.array([0, 0, 0, 1, 1, 1, 2, 2])
WEIGHTS = RNG.normal(size=(3, 2)).astype(np.float32).astype(np.float64)
CENTROIDS = RNG.normal(size=(3, 2)).astype(np.float32).astype(np.float64)
VARIANCE = 0.5
DENSE = RNG.normal(size=(2, 3)).astype(np.float32).astype(np.float64)
EPS, ALPHA, SEED = 0.1, 3.0, (3, 4)
INFINITY = float("inf")


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


def _losses_and_gradient(classifier, method, progress=0.0):
    """Losses of the method and the gradient of their mean for the embedding's weights."""
    images = tf.constant(PIXELS.reshape(8, 1, 3, 1), tf.float32)
    targets = tf.constant(np.stack([CLASSES, CLASSES], axis=1))

    @tf.function
    def run():
        with tf.GradientTape() as tape:
            losses = method.losses(
                classifier, images, targets, tf.constant(SEED), tf.constant(progress)
            )
            loss = tf.reduce_mean(losses.total)
        kernel = classifier.backbone.get_layer("weights").kernel
        return losses, tape.gradient(loss, kernel.value)

    losses, gradient = run()
    return losses, gradient.numpy()


def _scores(embeddings):
    return reference.cluster_log_scores(embeddings, CENTROIDS, VARIANCE)


def _check(method, classifier, total, progress=0.0):
    """`total(weights)`: the expected loss of every example."""
    losses, gradient = _losses_and_gradient(classifier, method, progress)
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
    losses = _check(Clustr(alpha=ALPHA), _clustered(), _magnet)
    np.testing.assert_allclose(losses.remembered, losses.total)


def test_clustr_with_cross_entropy_of_the_log_scores():
    def total(weights):
        xent = reference.cross_entropy(_scores(PIXELS @ weights), CLASSES)
        return _magnet(weights) + 0.5 * xent

    method = Clustr(alpha=ALPHA, xent_lambda=0.5)
    losses = _check(method, _clustered(), total)
    np.testing.assert_allclose(losses.remembered, _magnet(WEIGHTS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("magnet_lambda", [0.0, 0.5])
def test_clustr_certified_pushes_distances_to_bisectors_beyond_the_margin(magnet_lambda):
    margin, temperature = 0.4, 0.2

    def total(weights):
        radii = reference.bisector_distances(PIXELS @ weights, CENTROIDS, CLASSES)
        lacking = (margin - radii) / temperature
        certified = temperature * np.log(1 + np.exp(lacking).sum(axis=1))
        return certified + (magnet_lambda * _magnet(weights) if magnet_lambda else 0)

    method = ClustrCertified(
        alpha=ALPHA,
        margin=margin,
        temperature=temperature,
        centroids="refreshed",
        magnet_lambda=magnet_lambda,
    )
    _check(method, _clustered(), total)


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

    method = ClustrIBP(
        alpha=ALPHA,
        eps=EPS,
        interval_lambda=0.8,
        warmup=0.4,
        centroids="refreshed",
        magnet_lambda=magnet_lambda,
    )
    losses = _check(method, _clustered(), total, progress=0.1)
    assert {"xent", "worst_xent"} <= set(losses.parts)
    assert float(losses.parts["worst_xent"]) > float(losses.parts["xent"])


def test_the_warm_up_of_clustr_ibp_ends():
    """Before it nothing of the worst case counts; after it, all."""
    method = ClustrIBP(eps=EPS, interval_lambda=1.0, warmup=0.4)
    start, _ = _losses_and_gradient(_clustered(), method, progress=0.0)
    clean = reference.cross_entropy(_scores(PIXELS @ WEIGHTS), CLASSES)
    np.testing.assert_allclose(start.total, clean, rtol=1e-4, atol=1e-5)
    end, late = (
        _losses_and_gradient(_clustered(), method, progress=progress)[0] for progress in (0.4, 0.9)
    )
    np.testing.assert_allclose(end.total, late.total, rtol=1e-6)
    assert np.all(end.total.numpy() > start.total.numpy())


@pytest.mark.parametrize(("method", "options"), [(Clustr, {}), (ClustrQTrades, {"eps": 0.0})])
def test_only_the_nearest_clusters_have_a_score_inside_the_loss(method, options):
    """With L = 1 the nearest cluster's class has probability 1: cross-entropy is 0 or about 1000.

    The same of the companion, whose answers are held against themselves.
    """
    nearest = np.argmax(_scores(PIXELS @ WEIGHTS), axis=1)
    assert 0 < np.mean(nearest == CLASSES) < 1
    losses, _ = _losses_and_gradient(
        _clustered(), method(alpha=ALPHA, xent_lambda=1.0, nearest=1, **options)
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

    chosen = {"consistency": consistency} if consistency else {}  # else the method's own
    method = METHODS[name](alpha=ALPHA, eps=EPS, **chosen)
    losses = _check(method, _clustered(), total)
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

    method = ClustrTrades(alpha=ALPHA, eps=EPS, step_size=0.03, standardised_steps=True, steps=3)
    _check(method, classifier, total)


def test_nominal_is_the_cross_entropy():
    def total(weights):
        return reference.cross_entropy(PIXELS @ weights @ DENSE, CLASSES)

    _check(Nominal(), _dense(), total)


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

    _check(METHODS[name](eps=EPS), _dense(), total)
    assert METHODS[name]().centroids is None


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

    method = ClustrAT(eps=EPS, likelihood_lambda=likelihood_lambda)
    losses = _check(method, _clustered(), total)
    assert ("likelihood" in losses.parts) == (likelihood_lambda > 0)
    assert method.centroids == "learned"


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

    _check(Trades(eps=EPS), _dense(), total)


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

    method = ClustrRobust(
        alpha=ALPHA,
        eps=EPS,
        magnet_lambda=magnet_lambda,
        likelihood_lambda=likelihood_lambda,
    )
    losses = _check(method, _clustered(), total)
    assert ("magnet" in losses.parts) == (magnet_lambda > 0)
    assert ("likelihood" in losses.parts) == (likelihood_lambda > 0)


@pytest.mark.parametrize("name", ["clustr_robust", "clustr_ibp"])
def test_the_likelihood_is_that_of_the_nearest_cluster_of_the_label(name):
    """Companions in a ball of radius 0 are the images themselves."""
    centroids = np.random.default_rng(5).normal(size=(6, 2)).astype(np.float32)
    head = ClusteringHead(3, 2)
    head.set_clusters(centroids, VARIANCE)
    method = METHODS[name](eps=0.0, likelihood_lambda=0.25)
    losses, _ = _losses_and_gradient(_classifier(head), method)
    squares = ((PIXELS @ WEIGHTS)[:, None] - centroids[None].astype(np.float64)) ** 2
    distances = squares.sum(axis=2).reshape(-1, 3, 2)
    own = distances[np.arange(len(CLASSES)), CLASSES].min(axis=1) / (2 * VARIANCE)
    assert float(losses.parts["likelihood"]) == pytest.approx(own.mean(), rel=1e-5)


@pytest.mark.parametrize("name", ["clustr_free", "free_at"])
def test_free_methods_replay_four_times(name):
    assert METHODS[name](eps=EPS).free == FreeTraining(replays=4, eps=EPS)
    assert METHODS[name](replays=7, eps=EPS, warmup=0.5).free == FreeTraining(7, EPS, 0.5)


def test_free_losses_are_those_of_the_perturbed_images():
    _check(ClustrFree(alpha=ALPHA), _clustered(), _magnet)
    _check(
        FreeAT(),
        _dense(),
        lambda weights: reference.cross_entropy(PIXELS @ weights @ DENSE, CLASSES),
    )


@pytest.mark.parametrize(
    ("warmup", "progress", "share"), [(0.0, 0.0, 1), (0.5, 0.125, 0.25), (0.5, 0.75, 1)]
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
    method = PGDAT(eps=EPS, step_size=EPS / 2, steps=4, warmup=warmup)
    images, targets = tf.fill([4, 1, 1, 1], 0.5), tf.zeros([4, 2], tf.int64)
    losses = tf.function(method.losses)
    losses(classifier, images, targets, tf.constant(SEED), tf.constant(progress))
    assert float(norm.moving_mean[0]) == pytest.approx((0.5 - share * EPS) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("clustr_trades", {"consistency": "l1"}, "one of ['cross_entropy', 'kl', 'mse']"),
        ("clustr_qtrades", {"consistency_lambda": -1.0}, "at least 0"),
        ("trades", {"consistency_lambda": INFINITY}, "at least 0"),
        ("pgd_at", {"steps": 0}, "at least 1"),
        ("free_at", {"replays": 0}, "at least 1"),
        ("pgd_at", {"eps": float("nan")}, "in [0, 1], as pixels are (8/255, not 8)"),
        ("clustr_free", {"eps": -0.1}, "in [0, 1], as pixels are (8/255, not 8)"),
        ("clustr_ibp", {"eps": -0.1}, "in [0, 1], as pixels are (8/255, not 8)"),
        ("clustr_at", {"step_size": -0.1}, "at least 0"),
        ("clustr", {"alpha": -1.0}, "at least 0"),
        ("clustr", {"epsilon": 1.0}, "in [0, 1)"),
        ("clustr", {"xent_lambda": -1.0}, "at least 0"),
        ("clustr", {"nearest": 0}, "None or at least 1"),
        ("fast_at", {"warmup": 1.5}, "in [0, 1]"),
        ("clustr_free", {"warmup": -0.5}, "in [0, 1]"),
        ("clustr_ibp", {"warmup": 1.5}, "in [0, 1]"),
        ("clustr_ibp", {"interval_lambda": -0.5}, "in [0, 1]"),
        ("clustr_certified", {"margin": -0.5}, "at least 0"),
        ("clustr_certified", {"temperature": 0.0}, "above 0"),
        ("clustr_robust", {"magnet_lambda": -0.5}, "at least 0"),
        ("clustr_robust", {"likelihood_lambda": -0.5}, "at least 0"),
        ("clustr_at", {"centroids": "dense"}, "one of ['fixed', 'learned', 'refreshed']"),
    ],
)
def test_a_field_out_of_its_range_is_refused(name, values, message):
    ((field, value),) = values.items()
    with pytest.raises(ValueError) as refused:
        METHODS[name](**values)
    assert str(refused.value) == f"{field} must be {message}. Received: {value!r}"


def test_standardised_steps_need_their_size():
    with pytest.raises(ValueError, match=r"^step_size must be given with standardised_steps\."):
        ClustrTrades(standardised_steps=True)


@pytest.mark.parametrize("name", ["clustr_certified", "clustr_ibp"])
def test_a_magnet_loss_beside_proofs_takes_neighbourhoods(name):
    with pytest.raises(ValueError, match=r"^magnet_lambda must be 0 unless .* Received: 0\.5$"):
        METHODS[name](magnet_lambda=0.5)
    assert METHODS[name](magnet_lambda=0.5, centroids="refreshed").magnet_lambda == 0.5


_MAGNET = {"alpha": 12.5, "epsilon": 0.0}
_CLUSTR = _MAGNET | {"xent_lambda": 0.0, "nearest": None}
_ADVERSARY = {
    "eps": 8 / 255,
    "step_size": None,
    "standardised_steps": False,
    "steps": 1,
    "warmup": 0.0,
}
_REPLAYS = {"replays": 4, "eps": 8 / 255, "warmup": 0.0}
_LIKELIHOOD = {"centroids": "learned", "likelihood_lambda": 0.0}
_MAGNET_TERM = _MAGNET | {"centroids": "learned", "magnet_lambda": 0.0}
_DEFAULTS = {
    "clustr": _CLUSTR,
    "clustr_free": _CLUSTR | _REPLAYS,
    "clustr_qtrades": _CLUSTR
    | _ADVERSARY
    | {"consistency": "cross_entropy", "consistency_lambda": 8.0},
    "clustr_trades": _CLUSTR
    | _ADVERSARY
    | {"consistency": "kl", "consistency_lambda": 8.0, "steps": 10},
    "clustr_robust": _ADVERSARY
    | _LIKELIHOOD
    | _MAGNET_TERM
    | {"consistency_lambda": 6.0, "steps": 3},
    "clustr_at": _ADVERSARY | _LIKELIHOOD,
    "clustr_certified": _MAGNET_TERM | {"margin": 0.5, "temperature": 0.1},
    "clustr_ibp": _MAGNET_TERM
    | _LIKELIHOOD
    | {"eps": 8 / 255, "interval_lambda": 0.5, "warmup": 0.5},
    "nominal": {},
    "pgd_at": _ADVERSARY | {"steps": 7},
    "fast_at": _ADVERSARY,
    "free_at": _REPLAYS,
    "trades": _ADVERSARY | {"consistency_lambda": 6.0, "steps": 10},
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_fields_that_it_uses(name):
    method = METHODS[name]()
    assert {field.name: getattr(method, field.name) for field in fields(method)} == _DEFAULTS[name]


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_asks_of_the_trainer(name):
    method = METHODS[name]()
    undisturbed = ("clustr", "clustr_certified", "clustr_ibp", "nominal")
    assert method.has_adversary == (name not in undisturbed)
    assert method.needs_lipschitz == (name == "clustr_certified")
    assert (method.free is not None) == (name in ("clustr_free", "free_at"))
    if name in ("clustr", "clustr_free", "clustr_qtrades", "clustr_trades"):
        assert method.centroids == "refreshed"
    else:
        assert method.centroids == ("learned" if name.startswith("clustr") else None)


def test_a_method_of_ones_own_is_a_class_and_a_line(monkeypatch):
    """Loss 3 w of an embedding w: SGD of rate 0.1 takes w from 1 to 0.7 in one traced step."""

    @dataclass(frozen=True)
    class Mine(Method):
        factor: float = 3.0

        def losses(self, classifier, images, targets, seed, progress):
            losses = self.factor * classifier.embed(images, training=True)[:, 0]
            return StepLosses(losses, losses, {})

    monkeypatch.setitem(METHODS, "mine", Mine)
    inputs = keras.Input((1, 1, 1))
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    backbone = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    classifier = Classifier(backbone, keras.layers.Dense(2), mean=[0.0], std=[1.0])
    optimizer = keras.optimizers.SGD(0.1)
    method = METHODS["mine"]()

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            losses = method.losses(
                classifier,
                tf.ones([4, 1, 1, 1]),
                tf.zeros([4, 2], tf.int64),
                tf.constant(SEED),
                tf.constant(0.0),
            )
            loss = tf.reduce_mean(losses.total)
        optimizer.apply([tape.gradient(loss, dense.kernel.value)], [dense.kernel])
        return loss

    assert float(step()) == pytest.approx(3.0)
    np.testing.assert_allclose(dense.kernel, [[0.7]], rtol=1e-6)
    assert (method.centroids, method.free, method.has_adversary) == (None, None, False)


@pytest.mark.parametrize(
    ("method", "clustered"),
    [
        (Nominal(), False),
        (ClustrIBP(eps=0.0, warmup=0.0), True),
        (ClustrCertified(), True),
    ],
)
def test_the_accuracy_of_a_batch_is_told(method, clustered):
    """Share of images whose nearest centroid, or largest logit, is their label's; in NumPy."""
    classifier = _clustered() if clustered else _dense()
    embeddings = PIXELS @ WEIGHTS
    if clustered:
        distances = ((embeddings[:, None] - CENTROIDS[None]) ** 2).sum(axis=2)
        expected = np.mean(distances.argmin(axis=1) == CLASSES)
    else:
        expected = np.mean((embeddings @ DENSE).argmax(axis=1) == CLASSES)
    losses, _ = _losses_and_gradient(classifier, method)
    assert 0 < expected < 1
    assert float(losses.parts["accuracy"]) == pytest.approx(expected)
