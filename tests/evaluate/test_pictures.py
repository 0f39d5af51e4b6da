"""The map of the embeddings."""

import numpy as np
import pytest

from clustr_tf.evaluate.pictures import draw_embedding_map, map_embeddings

# Four centroids on the corners of a flat rectangle 8 x 2 in the plane of axes 1 and 2.
CENTROIDS = np.array([[5, 4, 1], [5, -4, 1], [5, 4, -1], [5, -4, -1]], float)


def test_the_main_directions_are_those_of_the_centroids():
    """Variances 16 and 1: the first direction has 16/17; axis 0 is constant and vanishes."""
    shown = map_embeddings(np.array([[9.0, 4, 1]]), np.array([0]), CENTROIDS, num_classes=2)
    np.testing.assert_allclose(shown.explained, [16 / 17, 1 / 17])
    np.testing.assert_allclose(np.abs(shown.points), [[4, 1]], atol=1e-12)
    np.testing.assert_allclose(shown.points[0], shown.centres[0], atol=1e-12)
    np.testing.assert_array_equal(shown.centre_labels, [0, 0, 1, 1])


def test_without_centroids_the_means_of_the_present_classes_stand_for_them():
    embeddings = np.array([[0.0, 0], [2, 0], [0, 6], [8, 8]])
    shown = map_embeddings(embeddings, np.array([0, 0, 2, 5]), None, num_classes=6)
    np.testing.assert_array_equal(shown.centre_labels, [0, 2, 5])
    distances = np.linalg.norm(shown.centres - shown.centres[0], axis=1)
    # Means (1, 0), (0, 6), (8, 8).
    np.testing.assert_allclose(distances, [0, np.sqrt(37), np.sqrt(113)])


def test_one_dimension_has_no_map():
    with pytest.raises(ValueError, match=r"^embeddings must have at least 2 .* Received: \(3, 1\)"):
        map_embeddings(np.zeros((3, 1)), np.zeros(3, int), np.zeros((4, 1)), 2)


def test_directions_of_many_dimensions_are_those_of_the_svd_to_the_last_digits():
    """What a randomised solver finds is another map with every call."""
    draws = np.random.default_rng(0)
    centroids, embeddings = draws.normal(size=(20, 512)), draws.normal(size=(50, 512))
    centred = centroids - centroids.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
    shown = map_embeddings(embeddings, np.zeros(50, int), centroids, num_classes=10)
    expected = (embeddings - centroids.mean(axis=0)) @ directions.T
    np.testing.assert_allclose(np.abs(shown.points), np.abs(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("classes", [3, 30])
def test_a_class_without_examples_is_drawn_without_a_warning(tmp_path, classes):
    labels = np.array([0, 0, 2])
    names = tuple(map(str, range(classes)))
    draw_embedding_map(tmp_path / "map.png", np.eye(3), labels, None, names, "title")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
