"""What pictures show: adversarial examples, and a map of the embeddings."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA

from clustr_tf.classifier import Classifier, Embedder
from clustr_tf.data.pixels import to_pixels
from clustr_tf.evaluate.attacking import Examples
from clustr_tf.evaluate.results import Outcome
from clustr_tf.layers import ClusteringHead
from clustr_tf.run.files import replacing

_GALLERY, _MAP = 8, 500  # images
_LEGEND = 20  # more classes than this would bury the map


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
        "gallery_images": to_pixels(examples.images[rows]),
        "gallery_adversarial": found,
        "gallery_predictions": predictions,
    }


def map_arrays(
    classifier: Classifier, images: np.ndarray, labels: np.ndarray, num_classes: int
) -> dict[str, np.ndarray]:
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


class EmbeddingMap(NamedTuple):
    """Embeddings and centroids in two dimensions.

    Attributes:
        points: `[N, 2]`.
        centres: `[C*K, 2]`.
        centre_labels: int `[C*K]`, classes of the centres.
        explained: `[2]`, shares of the centroids' variance that the directions explain.
    """

    points: np.ndarray
    centres: np.ndarray
    centre_labels: np.ndarray
    explained: np.ndarray


def map_embeddings(
    embeddings: np.ndarray, labels: np.ndarray, centroids: np.ndarray | None, num_classes: int
) -> EmbeddingMap:
    """Projects on the two main directions of the centroids.

    Args:
        embeddings: `[N, dim]`.
        labels: int64 `[N]`.
        centroids: `[C*K, dim]`, cluster j of class j // K; None for the means of the classes.
        num_classes: C.

    Returns:
        The map.

    Raises:
        ValueError: if the embeddings have fewer than two dimensions.
    """
    if embeddings.shape[1] < 2:
        raise ValueError(
            f"embeddings must have at least 2 dimensions. Received: {embeddings.shape}"
        )
    if centroids is None:
        centre_labels = np.unique(labels)
        centroids = np.stack([embeddings[labels == label].mean(axis=0) for label in centre_labels])
    else:
        centre_labels = np.arange(len(centroids)) // (len(centroids) // num_classes)
    # In float64 the last digits that change from run to run do not reach the figures. Left to
    # itself, PCA draws random vectors for many dimensions, and the figures change with them.
    projection = PCA(2, svd_solver="full").fit(np.asarray(centroids, np.float64))
    return EmbeddingMap(
        projection.transform(np.asarray(embeddings, np.float64)),
        projection.transform(np.asarray(centroids, np.float64)),
        centre_labels,
        projection.explained_variance_ratio_,
    )


def draw_embedding_map(
    path: Path,
    embeddings: np.ndarray,
    labels: np.ndarray,
    centroids: np.ndarray | None,
    class_names: tuple[str, ...],
    title: str,
) -> None:
    """Draws embeddings and centroids in the centroids' two main directions.

    Args:
        path: the PNG file to write.
        embeddings: `[N, dim]`.
        labels: int64 `[N]`.
        centroids: `[C*K, dim]`, cluster j of class j // K; None for the means of the classes.
        class_names: one a class.
        title: over the picture.

    Raises:
        ValueError: as `map_embeddings`.
    """
    shown = map_embeddings(embeddings, labels, centroids, len(class_names))
    points, centres = shown.points, shown.centres
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.add_subplot()
    colours = colormaps["tab10"].resampled(max(len(class_names), 10))
    shades = Normalize(0, max(len(class_names) - 1, 9))
    axes.scatter(points[:, 0], points[:, 1], s=12, c=labels, alpha=0.7, cmap=colours, norm=shades)
    axes.scatter(
        centres[:, 0],
        centres[:, 1],
        s=160,
        c=shown.centre_labels,
        marker="*",
        edgecolors="k",
        cmap=colours,
        norm=shades,
    )
    if len(class_names) <= _LEGEND:
        handles = [
            Line2D([], [], marker="o", linestyle="", color=colours(shades(label)))
            for label in range(len(class_names))
        ]
        axes.legend(handles, class_names, title="class", loc="center left", bbox_to_anchor=(1, 0.5))
    explained = shown.explained
    axes.set(
        title=title,
        xlabel=f"1st direction of the centroids ({explained[0]:.0%} of their variance)",
        ylabel=f"2nd direction ({explained[1]:.0%})",
    )
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)
