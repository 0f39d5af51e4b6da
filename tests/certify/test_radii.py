"""Certificates of embeddings: by hand, and attacked from the pixels."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from clustr_tf import certify as room
from clustr_tf.certify.l2.clusters import cluster_geometry, nearest_cluster_radius
from clustr_tf.certify.l2.lipschitz import LipschitzBound, embed_with_norms, lipschitz_bound
from clustr_tf.certify.l2.soft_score import soft_score_radius
from clustr_tf.certify.radii import (
    all_proofs,
    certify_embeddings,
    nearest_cluster_proof,
    prove,
    soft_score_proof,
)

LINE = np.array([[0.0], [4.0]], "float32")
RADII = [
    "certified_radius_l2",
    "certified_radius_linf",
    "embedding_margin",
    "nearest_cluster_radius_l2",
]


def geometry_of(centroids, clusters, method="exact"):
    return cluster_geometry(tf.constant(centroids, tf.float64), clusters, method)


def certify(embeddings, centroids=LINE, clusters=1, bound=None, norms=None, **options):
    """Certificates as NumPy arrays; no rounding and gain 1 unless told otherwise."""
    embeddings = np.asarray(embeddings, "float32")
    result = certify_embeddings(
        embeddings,
        np.zeros((len(embeddings), 1)) if norms is None else norms,
        geometry_of(centroids, clusters),
        **{"variance": 1.0, "nearest": None, "num_pixels": 4, **options},
        bound=bound or LipschitzBound(1.0, 0.0, (0.0, 0.0)),
    )
    found = result._asdict()
    (own,) = found.pop("proved").values()
    assert own.l2 is result.certified_radius_l2
    assert own.linf is result.certified_radius_linf
    return {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}


def draw(seed, count=200):
    """Embeddings and centroids, three classes of two clusters, float32."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 5)).astype("float32"), rng.normal(size=(6, 5)).astype("float32")


def test_radii_by_hand():
    """Between 0 and 4 at 1: margin 1 in embedding space, for both classifiers.

    Slack 0.1 + 0.05 * 2 = 0.2, gain 3 and growth 1: (1 - 0.2) / 4 = 0.2 in l2, half of it in
    l-infinity with four pixels.
    """
    bound = LipschitzBound(gain=3.0, growth=1.0, slack=(0.1, 0.05))
    found = certify([[1.0]], bound=bound, norms=np.array([[2.0]]))
    assert (found["class_id"], found["nearest_cluster"], found["runner_up_class_id"]) == (0, 0, 1)
    for name, expected in zip(RADII, (0.2, 0.1, 0.8, 0.2), strict=True):
        np.testing.assert_allclose(found[name], [expected], rtol=1e-6)
    np.testing.assert_allclose(found["squared_distances"], [[1, 9]])
    np.testing.assert_allclose(found["log_scores"], [[-0.5, -4.5]])


def test_types_and_order_of_classes():
    """Three classes at 0, 4 and 5: at 4.4 the second wins, then the third, then the first."""
    found = certify([[4.4]], centroids=np.array([[0.0], [4.0], [5.0]]))
    assert (found["class_id"], found["runner_up_class_id"]) == (1, 2)
    for name, values in found.items():
        integral = name in ("class_id", "nearest_cluster", "runner_up_class_id")
        assert values.dtype == ("int64" if integral else "float32"), name


def test_slack_beyond_the_margin_leaves_nothing():
    bound = LipschitzBound(gain=1.0, growth=0.0, slack=(0.0, 1.0))
    found = certify([[1.0], [1.0]], bound=bound, norms=np.array([[0.999], [1.001]]))
    for name in RADII:
        assert found[name][0] > 0
        assert found[name][1] == 0


def test_abstains_where_the_classifiers_disagree():
    """The nearest centroid is of class 0, at 0.9; two of class 1 at 1 weigh more together.

    Class 0: exp(-0.405) = 0.67 (its other cluster is far); class 1: 2 exp(-0.5) = 1.21.
    """
    centroids = np.array([[-0.9], [-50.0], [1.0], [1.0]])
    found = certify([[0.0], [0.5]], centroids=centroids, clusters=2)
    np.testing.assert_array_equal(found["class_id"], [1, 1])
    np.testing.assert_array_equal(found["nearest_cluster"], [0, 2])
    np.testing.assert_array_equal(found["runner_up_class_id"], [0, 0])
    for name in RADII:
        assert found[name][0] == 0
        assert found[name][1] > 0


@pytest.mark.parametrize("nearest", [None, 2, 6])
@pytest.mark.parametrize("method", ["nearest", "pairwise", "exact"])
def test_radii_never_exceed_the_proved_ones(method, nearest):
    """float32 outputs, read as float64, against the float64 radii: below, by less than 1e-6."""
    embeddings, centroids = draw(seed=1)
    bound = LipschitzBound(gain=1.7, growth=0.1, slack=(0.003, 0.0))
    found = certify(
        embeddings, centroids, 2, bound=bound, num_pixels=3, nearest=nearest, method=method
    )
    wide = embeddings.astype("float64"), centroids.astype("float64")
    soft_class, soft = soft_score_radius(*wide, 1.0, 2, nearest)
    nearest_class, hard = nearest_cluster_radius(*wide, 2, method)
    agree = soft_class.numpy() == nearest_class.numpy()
    np.testing.assert_array_equal(found["class_id"], soft_class)
    margin = np.where(agree, np.maximum(soft - 0.003, 0), 0)
    expected = {
        "embedding_margin": margin,
        "certified_radius_l2": margin / 1.8,
        "certified_radius_linf": margin / 1.8 / np.sqrt(3),
        "nearest_cluster_radius_l2": np.where(agree, np.maximum(hard - 0.003, 0), 0) / 1.8,
    }
    for name, proved in expected.items():
        served = found[name].astype("float64")
        assert np.all(served <= proved)
        assert np.all(served >= proved * (1 - 1e-6))
        assert np.any(served > 0)


def test_radii_below_the_normal_numbers_are_zero():
    """A margin of 1 over gains of 1e38 and 1e45: below 1.2e-38 float32 could round upwards."""
    for gain in (1e38, 1e45):
        found = certify([[1.0]], bound=LipschitzBound(gain, 0.0, (0.0, 0.0)))
        assert found["certified_radius_l2"] == 0


def test_a_network_without_slope_has_radii_that_files_can_hold():
    """Margin 1 over gain 0: any change is harmless, and infinity no JSON number."""
    found = certify([[1.0]], bound=LipschitzBound(0.0, 0.0, (0.0, 0.0)))
    assert found["certified_radius_l2"] == np.finfo("float32").max


@pytest.mark.parametrize("nearest", [None, 2])
def test_one_proof_finds_what_all_certificates_say(nearest):
    embeddings, centroids = draw(seed=4)
    bound = LipschitzBound(gain=1.7, growth=0.1, slack=(0.003, 0.1))
    norms = np.full((len(embeddings), 1), 0.02)
    geometry = geometry_of(centroids, 2)
    for method in ("nearest", "pairwise", "exact"):
        expected = certify(
            embeddings, centroids, 2, bound=bound, norms=norms, nearest=nearest, method=method
        )
        for proof, radius in (
            (soft_score_proof(nearest), "certified_radius_l2"),
            (nearest_cluster_proof(method), "nearest_cluster_radius_l2"),
        ):
            found = prove(proof, embeddings, norms, geometry, 1.0, nearest, bound)
            np.testing.assert_array_equal(found[1], expected[radius])
            assert found[0].dtype == tf.int64
            assert np.any(found[1] > 0)


def test_a_classifier_that_disagrees_with_the_head_abstains():
    """Class 0 has the nearest cluster, at 0.9, class 1 two at 1 (as above): L = 1 and 4 differ.

    A head with L = 1 takes class 0 as the nearest cluster does; the scores over all clusters do
    not, and have no radius. With centroids further away (at 3) all agree.
    """
    bound = LipschitzBound(1.0, 0.0, (0.0, 0.0))
    for other, agree in ((1.0, False), (3.0, True)):
        geometry = geometry_of([[-0.9], [-50.0], [other], [other]], 2)
        point, norms = np.zeros((1, 1), "float32"), np.zeros((1, 1))
        own = prove(soft_score_proof(1), point, norms, geometry, 1.0, 1, bound)
        every = prove(soft_score_proof(None), point, norms, geometry, 1.0, 1, bound)
        assert own[0] == 0
        assert (every[0].numpy()[0], every[1].numpy()[0] > 0) == (int(not agree), agree)


def test_every_public_name_is_there():
    for name in room.__all__:
        assert getattr(room, name) is not None


def test_every_proof_is_described_once():
    proofs, left_out = all_proofs(num_clusters=20, clusters_per_class=2, ranked=None)
    assert [proof.title for proof in proofs] == [
        "soft scores, all clusters",
        "nearest cluster, nearest",
        "nearest cluster, pairwise",
        "nearest cluster, exact",
    ]
    assert ["--nearest" in line for line in left_out] == [True]
    proofs, left_out = all_proofs(90, 9, ranked=20, further=5)
    assert [proof.key for proof in proofs] == [
        "soft_scores_20_nearest",
        "soft_scores_all",
        "soft_scores_5_nearest",
        "nearest_cluster_nearest",
        "nearest_cluster_pairwise",
    ]
    assert ["9 clusters a class" in line for line in left_out] == [True]
    assert all_proofs(20, 2, ranked=20)[0][0].method == "all clusters"


@pytest.mark.parametrize("further", [0, 20])
def test_a_number_of_nearest_clusters_must_leave_some_out(further):
    with pytest.raises(ValueError, match=r"nearest must be from 1 to 19.*Received"):
        all_proofs(20, 2, ranked=None, further=further)


def test_nothing_is_certified_about_numbers_that_are_not_finite():
    embeddings = [[np.nan], [np.inf], [-np.inf], [1.0], [1.0], [1.0]]
    norms = np.array([[0], [0], [0], [np.nan], [np.inf], [0.0]])
    found = certify(embeddings, norms=norms)
    for name in RADII:
        np.testing.assert_array_equal(found[name][:5], 0)
        assert found[name][5] > 0


def test_traces_for_batches_of_any_size():
    geometry = geometry_of(draw(seed=2)[1], 2)
    bound = LipschitzBound(2.0, 0.0, (0.01, 0.001))
    traced = tf.function(
        lambda embeddings, norms: certify_embeddings(
            embeddings, norms, geometry, 0.5, 3, bound, 64, method="exact"
        )._asdict(),
        input_signature=[tf.TensorSpec((None, 5)), tf.TensorSpec((None, 1), tf.float64)],
    )
    for count in (1, 9):
        embeddings, _ = draw(seed=3, count=count)
        norms = np.ones((count, 1))
        eager = certify_embeddings(embeddings, norms, geometry, 0.5, 3, bound, 64, method="exact")
        graph = traced(embeddings, norms)
        tf.nest.map_structure(
            lambda traced, values: np.testing.assert_allclose(traced, values, rtol=1e-6),
            graph,
            eager._asdict(),
        )


@pytest.mark.parametrize("nearest", [None, 2])
def test_no_image_inside_the_radius_is_classified_otherwise(nearest):
    """From the pixels, through a network whose gain is nearly attained.

    Random changes and gradient descent on the margin to every class, at the certified length.
    """
    rng = np.random.default_rng(9)
    inputs = keras.Input((3, 3, 1))
    x = layers.Normalization(mean=[0.5], variance=[0.25])(inputs)
    dense = layers.Dense(6)
    network = keras.Model(inputs, layers.ReLU()(dense(layers.Flatten()(x))))
    dense.set_weights([np.linalg.qr(rng.normal(size=(9, 6)))[0], 0.1 * np.ones(6)])
    bound = lipschitz_bound(network)
    images = rng.uniform(size=(20, 3, 3, 1)).astype("float32")
    embeddings, norms = embed_with_norms(network, images)
    geometry = geometry_of(embeddings.numpy()[:6], 2)

    @tf.function
    def certificates_of(batch):
        return certify_embeddings(
            *embed_with_norms(network, batch), geometry, 0.05, nearest, bound, 9
        )

    found = certificates_of(images)
    radii = found.certified_radius_l2.numpy()
    assert np.median(radii) > 1e-3
    assert norms.shape == (20, 2)

    def at_length(directions):
        lengths = np.linalg.norm(directions.reshape(20, -1), axis=1).reshape(-1, 1, 1, 1)
        return radii.reshape(-1, 1, 1, 1) * directions / np.maximum(lengths, 1e-30)

    changes = [at_length(rng.normal(size=images.shape)) for _ in range(100)]
    for target in range(3):
        change = np.zeros(images.shape)
        for _ in range(10):
            with tf.GradientTape() as tape:
                batch = tf.constant(images + change, tf.float32)
                tape.watch(batch)
                scores = certificates_of(batch).log_scores
                own = tf.gather(scores, found.class_id, batch_dims=1)
                margin = own - scores[:, target]
            change = at_length(change - 10 * np.asarray(tape.gradient(margin, batch))) * (1 - 1e-6)
            changes.append(change)
    for change in changes:
        changed = (images + change).astype("float32")
        # Rounded to float32 a changed image may lie a little outside.
        length = np.linalg.norm((changed - images.astype("float64")).reshape(20, -1), axis=1)
        kept = certificates_of(changed).class_id.numpy() == found.class_id.numpy()
        assert np.all(kept | (length > radii) | (radii == 0))
