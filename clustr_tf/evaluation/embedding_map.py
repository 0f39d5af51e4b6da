"""A picture of the embeddings: do classes form the clusters that training asked for?"""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from clustr_tf.files import replacing


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
        ValueError: if the embeddings have fewer than two dimensions.
    """
    if embeddings.shape[1] < 2:
        raise ValueError(
            f"embeddings must have at least 2 dimensions. Received: {embeddings.shape}"
        )
    if centroids is None:
        present = np.unique(labels)
        centroids = np.stack([embeddings[labels == label].mean(axis=0) for label in present])
        centre_labels = present
    else:
        centre_labels = np.arange(len(centroids)) // (len(centroids) // len(class_names))
    projection = PCA(2).fit(centroids)
    points, centres = projection.transform(embeddings), projection.transform(centroids)
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.add_subplot()
    colours = colormaps["tab10"].resampled(max(len(class_names), 10))
    shades = Normalize(0, max(len(class_names) - 1, 9))
    scatter = axes.scatter(
        points[:, 0], points[:, 1], s=12, c=labels, alpha=0.7, cmap=colours, norm=shades
    )
    axes.scatter(
        centres[:, 0],
        centres[:, 1],
        s=160,
        c=centre_labels,
        marker="*",
        edgecolors="k",
        cmap=colours,
        norm=shades,
    )
    handles, _ = scatter.legend_elements(num=list(range(len(class_names))))
    axes.legend(handles, class_names, title="class", loc="center left", bbox_to_anchor=(1, 0.5))
    explained = projection.explained_variance_ratio_
    axes.set(
        title=title,
        xlabel=f"1st direction of the centroids ({explained[0]:.0%} of their variance)",
        ylabel=f"2nd direction ({explained[1]:.0%})",
    )
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)
