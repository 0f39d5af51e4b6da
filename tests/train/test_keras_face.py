"""`Classifier.compile` and `fit` as Keras users know them."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

import clustr_tf as ct
from clustr_tf.classifier import Classifier, load_model
from clustr_tf.layers import ClusteringHead
from clustr_tf.methods import METHODS, PGDAT, Clustr, ClustrAT, FreeAT, Nominal
from clustr_tf.run.errors import TrainingDivergedError
from clustr_tf.train.callbacks import TrainerCallback, Watch, WatchRobustness
from clustr_tf.train.settings import Clustering

CLASSES, SIZE = 3, 60


@pytest.fixture(scope="module")
def data():
    """Three classes of 2x2 images, each bright in another corner."""
    rng = np.random.default_rng(11)
    labels = np.arange(SIZE) % CLASSES
    images = rng.uniform(0, 0.5, (SIZE, 2, 2, 1)).astype(np.float32)
    images.reshape(SIZE, 4)[np.arange(SIZE), labels] += 0.4
    return images, labels


def _classifier(head=None, seed=3):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((2, 2, 1))
    x = keras.layers.Dense(6, activation="relu")(keras.layers.Flatten()(inputs))
    return Classifier(keras.Model(inputs, x), head or keras.layers.Dense(CLASSES))


def _weights(classifier):
    return [weight.copy() for weight in classifier.get_weights()]


def _trainable(model):
    return [keras.ops.convert_to_numpy(variable).copy() for variable in model.trainable_variables]


def _assert_close(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


class _Weights(keras.callbacks.Callback):
    """A callback of one's own: the trainable weights after every step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(_trainable(self.model))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_trains_a_model_of_ones_own(method, data):
    images, labels = data
    if method.needs_lipschitz:
        backbone = ct.backbones.build_backbone("lipschitz_mlp", (2, 2, 1), width=8, dim=6)
        classifier = Classifier(backbone, ClusteringHead(CLASSES, 1))
    else:
        head = keras.layers.Dense(CLASSES) if method().centroids is None else None
        classifier = _classifier(head or ClusteringHead(CLASSES, 1))
    classifier.compile(keras.optimizers.SGD(0.01), method())
    history = classifier.fit(images, labels, epochs=1, steps_per_epoch=2, verbose=0, seed=1)
    assert np.isfinite(history.history["loss"]).all()
    assert classifier.predict(images, verbose=0).shape == (SIZE, CLASSES)


def test_it_learns_and_validates(data):
    images, labels = data
    classifier = _classifier()
    classifier.compile(keras.optimizers.Adam(0.05), Nominal())
    history = classifier.fit(
        images, labels, batch_size=20, epochs=60, validation_data=data, verbose=0, seed=2
    )
    figures = classifier.evaluate(images, labels, verbose=0, return_dict=True)
    assert figures["accuracy"] > 0.9
    assert history.history["val_accuracy"][-1] == pytest.approx(figures["accuracy"])
    assert history.history["val_loss"][-1] == pytest.approx(figures["loss"], rel=1e-5)
    scores = classifier.predict(images, verbose=0)
    shifted = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    assert figures["loss"] == pytest.approx(-shifted[np.arange(SIZE), labels].mean(), rel=1e-4)


def test_keras_own_callbacks_work(data, tmp_path):
    images, labels = data
    classifier = _classifier()
    classifier.compile(keras.optimizers.Adam(0.05), Nominal())
    rates = [0.05, 0.01, 0.002, 0.001]
    history = classifier.fit(
        images,
        labels,
        epochs=4,
        validation_split=0.2,
        verbose=0,
        seed=2,
        callbacks=[
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: rates[epoch]),
            keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
            keras.callbacks.ModelCheckpoint(
                tmp_path / "{epoch}.weights.h5", save_weights_only=True
            ),
            keras.callbacks.TensorBoard(tmp_path / "board"),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            keras.callbacks.EarlyStopping("val_loss", patience=0, mode="max"),
        ],
    )
    # The loss falls, which is worse for a monitor that wants the most of it.
    assert history.epoch == [0, 1]
    assert history.history["learning_rate"] == pytest.approx(rates[:2])
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == history.history["val_loss"]
    assert list((tmp_path / "board" / "train").glob("events*"))
    _assert_close(_weights(load_model(tmp_path / "2.keras")), _weights(classifier))
    other = _classifier(seed=8)
    other.load_weights(tmp_path / "2.weights.h5")
    _assert_close(_weights(other), _weights(classifier))


def test_averaged_weights_are_those_of_the_steps(data):
    """EMA of the weights after every step, with momentum 0.5, begun with the first, in NumPy."""
    images, labels = data
    plain, averaged, seen = _classifier(), _classifier(), _Weights()
    plain.compile(keras.optimizers.SGD(0.5), Nominal())
    plain.fit(images, labels, batch_size=20, epochs=2, verbose=0, seed=4, callbacks=[seen])
    expected = seen.seen[0]
    for weights in seen.seen[1:]:
        expected = [0.5 * old + 0.5 * new for old, new in zip(expected, weights, strict=True)]
    optimizer = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.5)
    averaged.compile(optimizer, Nominal())
    measured = []

    class Measure(TrainerCallback):
        def on_epoch_end(self, epoch, logs=None):
            with self.trainer.averaged_weights():
                measured.append(_trainable(self.model))

    averaged.fit(images, labels, batch_size=20, epochs=2, verbose=0, seed=4, callbacks=[Measure()])
    final = _trainable(averaged)
    _assert_close(final, expected)
    _assert_close(measured[-1], expected)
    assert np.abs(final[0] - seen.seen[-1][0]).max() > 1e-3


def test_gradients_are_clipped(data):
    """With a rate of 1 no variable moves further than the norm it is clipped to."""
    images, labels = data
    moved = {}
    for clipnorm in (None, 1e-3):
        classifier = _classifier()
        before = _trainable(classifier)
        classifier.compile(keras.optimizers.SGD(1.0, clipnorm=clipnorm), Nominal())
        classifier.fit(images, labels, epochs=1, steps_per_epoch=1, verbose=0, seed=4)
        after = _trainable(classifier)
        lengths = [np.linalg.norm(a - b) for a, b in zip(after, before, strict=True)]
        moved[clipnorm] = max(lengths)
    assert moved[1e-3] == pytest.approx(1e-3, rel=1e-3)
    assert moved[None] > 1e-2


def test_a_stream_trains_as_the_arrays_do(data):
    """Whole batches: the mean gradient does not depend on the order."""
    images, labels = data
    weights = []
    pipeline = tf.data.Dataset.from_tensor_slices((images, labels)).batch(SIZE)
    for arguments in ((images, labels), (pipeline,)):
        classifier = _classifier()
        classifier.compile(keras.optimizers.SGD(0.1), Nominal())
        batch = {"batch_size": SIZE} if len(arguments) == 2 else {}
        classifier.fit(*arguments, epochs=3, verbose=0, seed=4, **batch)
        weights.append(_weights(classifier))
    _assert_close(*weights)


def test_a_stream_is_not_read_ahead_of_its_steps(data):
    """A pipeline that never ends: two epochs of three batches of it."""
    images, labels = data
    drawn = []

    def endless():
        while True:
            drawn.append(1)
            yield images[:20], labels[:20]

    signature = (tf.TensorSpec((20, 2, 2, 1)), tf.TensorSpec((20,), tf.int64))
    pipeline = tf.data.Dataset.from_generator(endless, output_signature=signature)
    for method in (PGDAT(eps=0.1, steps=1), FreeAT(eps=0.1, replays=2)):
        classifier = _classifier()
        classifier.compile("sgd", method)
        drawn.clear()
        history = classifier.fit(pipeline, epochs=2, steps_per_epoch=3, verbose=0)
        assert len(history.history["loss"]) == 2
        assert 6 <= len(drawn) <= 12
    with pytest.raises(ValueError, match="steps_per_epoch must be given"):
        classifier.fit(pipeline, verbose=0)


def test_learned_centroids_begin_with_an_epoch_of_a_stream(data):
    """The means of the classes of its two batches of 20, though it never ends."""
    images, labels = data

    def endless():
        while True:
            for start in (0, 20, 40):
                yield images[start : start + 20], labels[start : start + 20]

    signature = (tf.TensorSpec((20, 2, 2, 1)), tf.TensorSpec((20,), tf.int64))
    pipeline = tf.data.Dataset.from_generator(endless, output_signature=signature)
    classifier = _classifier(ClusteringHead(CLASSES, 1))
    classifier.compile(keras.optimizers.SGD(0.0), ClustrAT(eps=0.05))
    classifier.fit(pipeline, steps_per_epoch=2, verbose=0)
    embeddings = classifier.embed(images[:40]).numpy()
    means = [embeddings[labels[:40] == label].mean(axis=0) for label in range(CLASSES)]
    found = keras.ops.convert_to_numpy(classifier.head.centroids)
    np.testing.assert_allclose(found, means, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "labels", "line"),
    [
        (
            np.full((4, 2, 2, 1), 200.0),
            np.zeros(4, int),
            "images must be uint8, or floats in [0, 1",
        ),
        (np.zeros((4, 2, 2, 1)), np.full(4, 0.7), "labels must be whole numbers from 0 to 2"),
        (
            np.zeros((4, 2, 2, 1)),
            np.full(4, 3),
            "whole numbers from 0 to 2. Received",
        ),
        (np.zeros((4, 3, 3, 1)), np.zeros(4, int), "must give batches (images [batch, (2, 2, 1)]"),
    ],
)
def test_batches_of_a_stream_are_checked(images, labels, line):
    classifier = _classifier()
    classifier.compile("sgd", Nominal())
    pipeline = tf.data.Dataset.from_tensor_slices((images.astype(np.float32), labels)).batch(4)
    with pytest.raises(ValueError) as raised:
        classifier.fit(pipeline, verbose=0)
    assert line in str(raised.value)
    with pytest.raises(ValueError, match="must give batches"):
        classifier.fit(pipeline.unbatch(), verbose=0)


def test_without_a_step_averages_change_nothing(data):
    classifier = _classifier()
    classifier.compile(keras.optimizers.SGD(0.1, use_ema=True), Nominal())
    before = _weights(classifier)
    classifier.fit(*data, epochs=0, verbose=0)
    _assert_close(_weights(classifier), before)


def test_callbacks_see_and_restore_averaged_weights(data, tmp_path):
    """ModelCheckpoint saves, and EarlyStopping restores, what val_loss was measured of."""
    classifier = _classifier()
    classifier.compile(keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9), Nominal())
    stop = keras.callbacks.EarlyStopping("val_loss", mode="max", restore_best_weights=True)
    save = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True)
    history = classifier.fit(
        *data,
        batch_size=20,
        epochs=3,
        validation_data=data,
        verbose=0,
        seed=1,
        callbacks=[save, stop],
    ).history["val_loss"]
    # The loss falls: the first epoch is the best of a monitor that wants the most.
    found = classifier.evaluate(*data, verbose=0, return_dict=True)["loss"]
    assert found == pytest.approx(history[0], rel=1e-5)
    classifier.load_weights(tmp_path / "1.weights.h5")
    found = classifier.evaluate(*data, verbose=0, return_dict=True)["loss"]
    assert found == pytest.approx(history[0], rel=1e-5)


def test_clusters_that_are_measured_are_those_of_the_averages(data):
    """The last epoch's figures are the finished model's."""
    classifier = _classifier(ClusteringHead(CLASSES, 1))
    classifier.compile(keras.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.9), Clustr())
    history = classifier.fit(*data, epochs=4, validation_data=data, verbose=0, seed=1).history
    figures = classifier.evaluate(*data, verbose=0, return_dict=True)
    assert history["val_loss"][-1] == pytest.approx(figures["loss"], rel=1e-4)
    assert history["val_accuracy"][-1] == pytest.approx(figures["accuracy"])


def test_a_loss_scale_does_not_change_the_steps(data):
    images, labels = data
    weights = []
    for scale in (None, 1024.0):
        classifier = _classifier()
        optimizer = keras.optimizers.SGD(0.1, loss_scale_factor=scale)
        classifier.compile(optimizer, Nominal())
        classifier.fit(images, labels, batch_size=20, epochs=1, verbose=0, seed=3)
        weights.append(_weights(classifier))
    _assert_close(*weights)
    assert np.abs(weights[0][0] - _weights(_classifier())[0]).max() > 1e-3


def test_backup_and_restore_goes_on_where_it_was(data, tmp_path):
    images, labels = data

    class Crash(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise RuntimeError("crash")

    classifier = _classifier()
    classifier.compile(keras.optimizers.SGD(0.1), Nominal())
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(RuntimeError, match="crash"):
        classifier.fit(images, labels, epochs=4, verbose=0, callbacks=[backup, Crash()])
    history = classifier.fit(
        images, labels, epochs=4, verbose=0, callbacks=[keras.callbacks.BackupAndRestore(tmp_path)]
    )
    assert history.epoch == [2, 3]


def test_only_lipschitz_networks_have_radii_in_pixels(data):
    images, labels = data
    with pytest.raises(ValueError, match="1-Lipschitz by construction"):
        _classifier(ClusteringHead(CLASSES, 1)).compile("sgd", METHODS["clustr_certified"]())
    backbone = ct.backbones.build_backbone("lipschitz_mlp", (2, 2, 1), width=8, dim=6)
    watch = Watch(ct.attacks.PGD(eps=0.1), certified_radius=0.1)
    WatchRobustness(Classifier(backbone, ClusteringHead(CLASSES, 1)), images, labels, watch)
    for classifier in (
        Classifier(backbone, ClusteringHead(CLASSES, 1), mean=[0.5], std=[0.5]),
        Classifier(backbone, keras.layers.Dense(CLASSES)),
        _classifier(ClusteringHead(CLASSES, 1)),
    ):
        with pytest.raises(ValueError, match=r"certified_radius=0\.1 needs a"):
            WatchRobustness(classifier, images, labels, watch)


def test_a_class_without_images_is_named(data):
    images, labels = data
    classifier = _classifier(ClusteringHead(CLASSES, 2))
    classifier.compile("sgd", Clustr())
    few = np.flatnonzero((labels != 2) | (np.arange(SIZE) < 3))
    with pytest.raises(ValueError, match=r"2 training images, .* Received: 1 of class 2"):
        classifier.fit(images[few], labels[few], verbose=0)


def test_neighbourhoods_fit_small_data_and_refresh_their_clusters(data):
    """Three classes with two clusters: M is at most 5. A finite pipeline is the same as arrays."""
    images, labels = data
    histories = []
    pairs = tf.data.Dataset.from_tensor_slices((images, labels)).batch(7)
    for arguments in ((images, labels), (pairs,)):
        classifier = _classifier(ClusteringHead(CLASSES, 2))
        classifier.compile(keras.optimizers.Adam(0.01), Clustr())
        history = classifier.fit(*arguments, epochs=2, verbose=0, seed=4)
        histories.append(history.history["loss"])
        assert len(set(history.history["variance"])) == 2
        # The head's clusters are those of the embeddings as they are now: K = 2 means a class.
        embeddings = classifier.embed(images).numpy()
        own = keras.ops.convert_to_numpy(classifier.head.centroids).reshape(CLASSES, 2, -1)
        distances = ((embeddings[:, None] - own[labels]) ** 2).sum(axis=2)
        nearest = distances.argmin(axis=1)
        for label in range(CLASSES):
            for cluster in range(2):
                members = embeddings[(labels == label) & (nearest == cluster)]
                np.testing.assert_allclose(members.mean(axis=0), own[label, cluster], atol=1e-4)
    assert histories[0] == histories[1]
    classifier.compile("adam", Clustr(), clustering=Clustering(4, 3))
    with pytest.raises(ValueError, match=r"batch_size must be left out or M\*D = 4\*3 = 12"):
        classifier.fit(images, labels, batch_size=32, verbose=0)
    endless = pairs.repeat()
    with pytest.raises(ValueError, match="of known length"):
        classifier.fit(endless, verbose=0)


def test_a_loaded_model_goes_on_as_if_it_had_not_been_saved(data, tmp_path):
    images, labels = data
    classifier = _classifier(ClusteringHead(CLASSES, 1))
    clustering = Clustering(temperature=2.0)
    classifier.compile(
        keras.optimizers.Adam(0.01, use_ema=True),
        ClustrAT(eps=0.05),
        clustering=clustering,
        metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")],
    )
    classifier.fit(images, labels, epochs=1, verbose=0, seed=1)
    classifier.save(tmp_path / "saved.keras")
    loaded = keras.models.load_model(tmp_path / "saved.keras")
    assert set(loaded.evaluate(images, labels, verbose=0, return_dict=True)) == {
        *("loss", "accuracy", "top2")
    }
    assert loaded.method == ClustrAT(eps=0.05)
    assert loaded.clustering == clustering
    for each in (classifier, loaded):
        each.fit(images, labels, epochs=1, verbose=0, seed=2)
    _assert_close(_weights(loaded), _weights(classifier))


def test_learned_centroids_are_not_found_anew_by_a_second_fit(data):
    images, labels = data
    classifier = _classifier(ClusteringHead(CLASSES, 1))
    classifier.compile(keras.optimizers.SGD(0.0), ClustrAT(eps=0.05))
    centroids = np.eye(CLASSES, 6)
    classifier.head.set_clusters(centroids, variance=2.0)
    classifier.fit(images, labels, epochs=1, verbose=0)
    found = keras.ops.convert_to_numpy(classifier.head.centroids)
    np.testing.assert_array_equal(found, centroids)
    assert classifier.head.learned


def test_uint8_and_floats_are_the_same_images(data):
    images, labels = data
    stored = np.round(images * 255).astype(np.uint8)
    weights = []
    for given in (stored, stored / 255):
        classifier = _classifier()
        classifier.compile(keras.optimizers.SGD(0.1), Nominal())
        classifier.fit(given, labels, epochs=1, verbose=0, seed=3)
        weights.append(_weights(classifier))
    _assert_close(*weights)
    np.testing.assert_allclose(
        classifier.predict(stored, verbose=0),
        classifier.predict((stored / 255).astype(np.float32), verbose=0),
        atol=1e-5,
    )


def test_attacked_after_every_epoch(data):
    images, labels = data
    classifier = _classifier()
    classifier.compile(keras.optimizers.Adam(0.05), PGDAT(eps=0.05, steps=2))
    watch = WatchRobustness(classifier, images, labels, Watch(ct.attacks.PGD(eps=0.05, steps=3)))
    history = classifier.fit(images, labels, epochs=3, verbose=0, callbacks=watch).history
    for clean, robust in zip(history["val_accuracy"], history["val_pgd_accuracy"], strict=True):
        assert robust <= clean


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"x": np.full((2, 2, 2, 1), 1.5)}, "images must be finite in [0, 1]"),
        (
            {"x": np.zeros((2, 3, 3, 1))},
            "x must be images [N, 2, 2, 1]. Received: shape (2, 3, 3, 1)",
        ),
        ({"y": np.array([0, 3])}, "labels must be whole numbers from 0 to 2. Received: 3"),
        ({"y": np.array([0.5, 1.0])}, "labels"),
        ({"validation_split": 1.0}, "validation_split must be in [0, 1). Received: 1.0"),
    ],
)
def test_data_that_do_not_fit_are_refused(change, line):
    classifier = _classifier()
    classifier.compile("sgd", Nominal())
    arguments = {"x": np.zeros((2, 2, 2, 1)), "y": np.array([0, 1]), **change}
    with pytest.raises(ValueError) as raised:
        classifier.fit(**arguments, verbose=0)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


def test_methods_that_do_not_fit_are_refused():
    classifier = _classifier()
    with pytest.raises(ValueError, match=r"before fit"):
        classifier.fit(np.zeros((2, 2, 2, 1)), np.array([0, 1]))
    with pytest.raises(ValueError, match="needs a classifier with a ClusteringHead"):
        classifier.compile("sgd", Clustr())
    with pytest.raises(ValueError, match=r"method must be one of clustr_tf\.methods"):
        classifier.compile("sgd", "clustr")


def test_a_loss_that_explodes_is_told(data):
    images, labels = data
    classifier = _classifier()
    classifier.compile(keras.optimizers.SGD(1e30), Nominal())
    with pytest.raises(TrainingDivergedError, match="Try a smaller learning rate"):
        classifier.fit(images, labels, epochs=3, verbose=0)
