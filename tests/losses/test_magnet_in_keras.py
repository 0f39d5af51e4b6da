"""The magnet loss in `compile` and `fit` of Keras: what it trains, and what it refuses."""

import keras
import numpy as np
import pytest

from clustr_tf.classifier import Classifier
from clustr_tf.data import NeighbourhoodSampler, cluster_by_class
from clustr_tf.layers import ClusteringHead
from clustr_tf.losses import MagnetLoss, magnet_loss

CLASSES, CLUSTERS_PER_CLASS, EXAMPLES = 3, 2, 24
TARGETS = np.repeat(np.arange(CLASSES), 4)[:, None] * [1, CLUSTERS_PER_CLASS]  # class, cluster
IMAGES = np.random.default_rng(0).uniform(size=(len(TARGETS), 4, 4, 1)).astype(np.float32)


def _backbone():
    inputs = keras.Input((4, 4, 1))
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))


def _classifier(head):
    return Classifier(_backbone(), head, mean=[0.5], std=[0.3])


def _functional():
    backbone = _backbone()
    scores = ClusteringHead(CLASSES, CLUSTERS_PER_CLASS)(backbone.output)
    return keras.Model(backbone.input, scores)


class Neighbourhoods(keras.utils.PyDataset):
    """Batches of neighbouring clusters; Keras draws all of an epoch before its end."""

    def __init__(self, images, sampler, steps):
        super().__init__()
        self.images, self.sampler, self.steps = images, sampler, steps

    def __len__(self):
        return self.steps

    def __getitem__(self, step):
        indices, targets = self.sampler.sample()
        return self.images[indices], targets


class RefreshClusters(keras.callbacks.Callback):
    """K-means anew after every epoch, for the sampler and the head."""

    def __init__(self, images, labels, sampler, head):
        super().__init__()
        self.images, self.labels, self.sampler, self.head = images, labels, sampler, head

    def on_epoch_end(self, epoch, logs=None):
        embeddings = self.model.predict(self.images, verbose=0)
        clusters = cluster_by_class(embeddings, self.labels, CLUSTERS_PER_CLASS)
        self.sampler.set_clusters(clusters.assignments, clusters.centroids)
        self.head.set_clusters(clusters.centroids, clusters.variance)


def test_trains_a_plain_keras_model_on_neighbourhoods():
    """Each class has two kinds of images, noise around patterns that are drawn at random.

    The loss falls by more than half, and the clusters that the callback gives the head classify.
    """
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(1)
    patterns = random.uniform(size=(CLASSES * CLUSTERS_PER_CLASS, 4, 4, 1))
    kinds = np.repeat(np.arange(len(patterns)), EXAMPLES)
    labels = kinds // CLUSTERS_PER_CLASS
    images = patterns[kinds] + 0.2 * random.normal(size=(len(kinds), 4, 4, 1))
    model, head = _backbone(), ClusteringHead(CLASSES, CLUSTERS_PER_CLASS)
    start = cluster_by_class(model.predict(images, verbose=0), labels, CLUSTERS_PER_CLASS)
    sampler = NeighbourhoodSampler(labels, start.assignments, start.centroids, 4, 6, seed=0)

    model.compile(keras.optimizers.Adam(0.01), loss=MagnetLoss(alpha=12.5))
    history = model.fit(
        Neighbourhoods(images, sampler, steps=20),
        epochs=8,
        callbacks=[RefreshClusters(images, labels, sampler, head)],
        verbose=0,
    ).history["loss"]
    assert history[-1] < history[0] / 2
    classes = np.argmax(head(model.predict(images, verbose=0)), axis=1)
    assert np.mean(classes == labels) > 0.9


@pytest.mark.parametrize("eagerly", [False, True])
@pytest.mark.parametrize(
    "model",
    [
        lambda: keras.Sequential([_classifier(ClusteringHead(CLASSES, 1))]),
        lambda: keras.Sequential([_classifier(ClusteringHead(CLASSES, 2, dtype="mixed_bfloat16"))]),
        lambda: keras.Sequential([_classifier(keras.layers.Dense(CLASSES))]),
        _functional,
        lambda: keras.Sequential([_functional()]),
    ],
    ids=["one_cluster", "mixed_precision", "dense", "functional", "nested"],
)
def test_log_scores_are_refused_in_one_line(model, eagerly):
    model = model()
    model.compile("adam", loss=MagnetLoss(), run_eagerly=eagerly)
    for use in (model.fit, model.evaluate):
        with pytest.raises(ValueError) as refused:
            use(IMAGES, TARGETS, verbose=0)
        assert str(refused.value) == (
            "y_pred must be embeddings [batch, dim], such as a Classifier's embedder gives. "
            "Received: log-scores of the classes"
        )


def test_a_classifier_is_given_a_method_and_no_loss():
    classifier = _classifier(ClusteringHead(CLASSES, 1))
    with pytest.raises(ValueError, match=r"^loss must be left out: .* MagnetLoss alone trains"):
        classifier.compile("adam", loss=MagnetLoss())


def test_log_scores_are_refused_outside_of_fit():
    scores = _classifier(ClusteringHead(CLASSES, 1))(IMAGES)
    for use in (MagnetLoss(), MagnetLoss().call, MagnetLoss.variance_of):
        with pytest.raises(ValueError, match="Received: log-scores of the classes"):
            use(TARGETS, scores)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_embeddings_of_a_classifier_are_taken(precision):
    """A learning rate of 0 leaves the network alone: the loss of `fit` is that of its embeddings.

    They have as many dimensions as there are classes, as log-scores have.
    """
    classifier = _classifier(ClusteringHead(CLASSES, 1, dtype=precision))
    classifier(IMAGES)  # log-scores of the same network leave no mark on its embeddings
    embedder = classifier.embedder
    embedder.compile(keras.optimizers.SGD(0.0), loss=MagnetLoss())
    history = embedder.fit(IMAGES, TARGETS, batch_size=len(IMAGES), verbose=0).history
    embeddings = classifier.embedder(IMAGES)
    expected = np.mean(magnet_loss(embeddings, TARGETS[:, 0], TARGETS[:, 1]))
    assert history["loss"] == pytest.approx([expected], rel=1e-5)
