"""A picture of the embeddings: do classes form the clusters that training asked for?"""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from clustr_tf.files import replacing


def draw_embedding_map(
    path: Path,
    embeddings: np.ndarray,
    labels: np.ndarray,
    centroids: np.ndarray,
    class_names: tuple[str, ...],
    title: str,
) -> None:
    """Draws embeddings and centroids in the centroids' two main directions.

    Args:
        path: the PNG file to write.
        embeddings: `[N, dim]`.
        labels: int64 `[N]`.
        centroids: `[C*K, dim]`, cluster j of class j // K.
        class_names: one a class.
        title: over the picture.

    Raises:
        ValueError: if the embeddings have fewer than two dimensions.
    """
    if embeddings.shape[1] < 2:
        raise ValueError(
            f"embeddings must have at least 2 dimensions. Received: {embeddings.shape}"
        )
    projection = PCA(2).fit(centroids)
    points, centres = projection.transform(embeddings), projection.transform(centroids)
    centre_labels = np.arange(len(centroids)) // (len(centroids) // len(class_names))
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.add_subplot()
    colour = {"cmap": "tab10", "vmin": 0, "vmax": max(len(class_names) - 1, 9)}
    scatter = axes.scatter(*points.T, c=labels, s=12, alpha=0.7, **colour)
    axes.scatter(
        *centres.T,
        c=centre_labels,
        s=160,
        marker="*",
        edgecolors="black",
        label="centroid",
        **colour,
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
