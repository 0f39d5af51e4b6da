"""The answers, before anything is saved."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp, softmax

import clustr_tf
from clustr_tf.classifier import Classifier
from clustr_tf.layers import ClusteringHead
from clustr_tf.serve.options import ServingOptions
from clustr_tf.serve.signatures import ServingModule

NAMES = ["serving_default", "certify", "certify_linf", "embed", "serving_bytes"]


@pytest.fixture(scope="module")
def module(classifier, bound):
    return ServingModule(classifier, bound)


def squared_distances(embeddings, head):
    """Float64, from the definition."""
    points = np.asarray(embeddings, np.float64)
    centroids = keras.ops.convert_to_numpy(head.centroids).astype(np.float64)
    return np.array([[np.sum((z - mu) ** 2) for mu in centroids] for z in points])


def test_probabilities_and_distances_are_the_definitions(module, classifier, images):
    """Softmax over classes of log sum_{j in class} exp(-|z - mu_j|^2 / (2 sigma^2))."""
    answer = {**module.serving_default(images), **module.embed(images)}
    distances = squared_distances(answer["embeddings"], classifier.head)
    variance = float(classifier.head.variance)
    scores = logsumexp((-distances / (2 * variance)).reshape(64, 3, 2), axis=-1)
    probabilities = softmax(scores, axis=-1)
    np.testing.assert_allclose(answer["probabilities"], probabilities, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(answer["squared_distances"], distances, rtol=1e-6)
    np.testing.assert_array_equal(answer["nearest_cluster"], distances.argmin(axis=-1))
    np.testing.assert_array_equal(answer["class_id"], scores.argmax(axis=-1))
    assert set(answer["class_id"].numpy()) == {0, 1, 2}


def test_only_the_nearest_clusters_take_part(classifier, bound, images):
    """With L = 2 of 6 clusters: only the two nearest have a share in the probabilities."""
    head = ClusteringHead(3, 2, nearest=2)
    head.set_clusters(classifier.head.centroids, classifier.head.variance)
    ranked = Classifier(classifier.backbone, head, classifier.mean, classifier.std)
    functions = ServingModule(ranked, bound).signature_functions()
    answer = functions["serving_default"](images=tf.constant(images))
    distances = squared_distances(ranked.embed(images), head)
    shares = np.exp(-distances / (2 * float(head.variance)))
    shares[distances > np.sort(distances, axis=-1)[:, 1:2]] = 0
    classes = shares.reshape(64, 3, 2).sum(axis=-1)
    expected = classes / classes.sum(axis=-1, keepdims=True)
    assert np.any(expected == 0)
    np.testing.assert_allclose(answer["probabilities"], expected, rtol=1e-4, atol=1e-12)


def test_is_certified_up_to_the_proved_radius(module, images):
    zeros = np.zeros(len(images), np.float32)
    proved = module.certify(images, zeros)["certified_radius_l2"].numpy()
    assert np.any(proved > 0)
    infinity = np.float32(np.inf)
    for asked, expected in [
        (zeros, proved > 0),
        (proved, proved > 0),
        (np.nextafter(proved, infinity), np.zeros(len(images), bool)),
    ]:
        np.testing.assert_array_equal(module.certify(images, asked)["is_certified"], expected)


def test_a_cheaper_search_serves_no_larger_radius(module, classifier, bound, images):
    """Bisection is what `certified_radii` tells; the grid is at most a factor of 2^0.5 below it.

    Its least radius is 2^-7.5: below that the Lipschitz bound's are left, as with none.
    """
    told = clustr_tf.certified_radii(classifier, images)
    radii = {
        name: ServingModule(classifier, bound, ServingOptions(linf=name)).serving_default(images)
        for name in ("grid", "off")
    }
    for norm in ("l2", "linf"):
        served = module.serving_default(images)[f"certified_radius_{norm}"].numpy()
        np.testing.assert_array_equal(served, getattr(told, norm))
        grid, off = (radii[name][f"certified_radius_{norm}"].numpy() for name in ("grid", "off"))
        assert np.all(grid <= served)
        assert np.all(off <= grid)
        searched = grid > off
        assert np.all(grid[searched] * 2**0.501 >= served[searched])
        assert np.all((served < 2**-7.499) | (served == off) | searched)


def test_nothing_is_certified_where_nothing_is_proved(classifier, bound, images):
    """A rounding slack beyond every margin: radius 0, and asking for 0 is not granted."""
    useless = dataclasses.replace(bound, slack=(1e9, *bound.slack[1:]))
    module = ServingModule(classifier, useless, ServingOptions(linf="off"))
    answer = module.certify(images[:6], np.zeros(6, np.float32))
    np.testing.assert_array_equal(answer["certified_radius_l2"], np.zeros(6))
    np.testing.assert_array_equal(answer["is_certified"], np.zeros(6, bool))


@pytest.mark.parametrize("name", NAMES)
def test_the_network_runs_once(module, classifier, name):
    convolutions = sum(isinstance(part, keras.layers.Conv2D) for part in classifier.backbone.layers)
    """In float32; interval bounds are float64."""
    graph = module.signature_functions()[name].graph.as_graph_def()
    nodes = [node for function in graph.library.function for node in function.node_def]
    types = [node.attr["T"].type for node in (*graph.node, *nodes) if node.op == "Conv2D"]
    assert types.count(tf.float32.as_datatype_enum) == convolutions == 3


def test_tracks_each_variable_once(module, classifier):
    assert len(module.variables) == len(classifier.variables)
    assert {id(variable) for variable in module.variables} == {
        id(variable.value) for variable in classifier.variables
    }


def test_refuses_other_heads(classifier, bound):
    dense = Classifier(classifier.backbone, keras.layers.Dense(3), [0.5], [0.25])
    with pytest.raises(ValueError, match=r"must have a ClusteringHead.*Received: Dense"):
        ServingModule(dense, bound)


def test_signatures_are_traced_for_any_batch(module):
    assert list(module.signature_functions()) == NAMES
    for function in module.signature_functions().values():
        for output in tf.nest.flatten(function.structured_outputs):
            assert output.shape[0] is None
