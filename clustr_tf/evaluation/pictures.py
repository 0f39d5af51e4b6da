"""What the report shows of single images: adversarial examples and the embedding map."""

from collections.abc import Mapping

import numpy as np

from clustr_tf.attacks.examples import as_pixels
from clustr_tf.classifier import Classifier
from clustr_tf.evaluation.attacking import Examples, Outcome
from clustr_tf.evaluation.embedding_map import map_embeddings
from clustr_tf.layers import ClusteringHead
from clustr_tf.training.refresh import Embedder

_GALLERY, _MAP = 8, 500


def gallery(examples: Examples, outcome: Outcome, eps: float) -> dict[str, np.ndarray]:
    """The first images that the stage with the most successes broke, and what broke them.

    Args:
        examples: that were attacked.
        outcome: of the attack.
        eps: its radius in pixels.

    Returns:
        Arrays of robustness.npz; empty where nothing was broken.
    """
    stage = max(outcome.broken, key=lambda name: int(outcome.broken[name].sum()))
    rows = np.flatnonzero(outcome.broken[stage])[:_GALLERY]
    if not len(rows):
        return {}
    found, predictions = examples.adversarial(stage, rows, eps)
    return {
        "gallery_rows": rows,
        "gallery_images": as_pixels(examples.images[rows]),
        "gallery_adversarial": found,
        "gallery_predictions": predictions,
    }


def map_arrays(
    classifier: Classifier, images: np.ndarray, labels: np.ndarray, num_classes: int
) -> Mapping[str, np.ndarray]:
    """The embeddings of the first images in two dimensions.

    Args:
        classifier: the model.
        images: uint8 `[N, H, W, C]`.
        labels: int64 `[N]`.
        num_classes: C.

    Returns:
        Arrays of robustness.npz; empty for embeddings of one dimension, which have no map.
    """
    images, labels = images[:_MAP], labels[:_MAP]
    embeddings = Embedder(classifier)(images)
    if embeddings.shape[1] < 2:
        return {}
    head = classifier.head
    centroids = np.asarray(head.centroids) if isinstance(head, ClusteringHead) else None
    shown = map_embeddings(embeddings, labels, centroids, num_classes)
    return {
        "map_rows": np.arange(len(labels)),
        "map_points": shown.points.astype(np.float32),
        "map_images": images,
        "map_centroids": shown.centres.astype(np.float32),
        "map_centroid_labels": shown.centre_labels,
        "map_explained": shown.explained.astype(np.float32),
    }
