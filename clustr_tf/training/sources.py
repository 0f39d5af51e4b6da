"""Where a run's batches come from, and the clusters it begins with."""

from collections.abc import Callable, Mapping

import numpy as np

from clustr_tf.classifier import Classifier
from clustr_tf.clustering import Clusters, NeighbourhoodSampler
from clustr_tf.errors import InputError
from clustr_tf.experiment import Experiment
from clustr_tf.training.batches import Batches, ShuffledBatches


def build_batches(
    experiment: Experiment,
    labels: np.ndarray,
    classifier: Classifier,
    centroids_are: str | None,
    cluster: Callable[[], Clusters],
    checkpoint: Mapping[str, np.ndarray] | None,
) -> Batches:
    """The source of batches that an objective needs.

    Args:
        experiment: every setting.
        labels: int64 `[N]`, of the training images.
        classifier: its head gets the clusters that the run begins with, unless they are in the
            checkpoint.
        centroids_are: of the objective: "refreshed", "learned", "fixed" or None.
        cluster: finds clusters of the training embeddings and gives them to the head.
        checkpoint: what the run goes on from.

    Returns:
        Neighbourhoods for refreshed centroids, else shuffled batches.

    Raises:
        InputError: if fixed centroids do not fit into the embedding.
    """
    seed = experiment.training.seed
    if centroids_are == "fixed":
        _fix_clusters(classifier)
    if centroids_are != "refreshed":
        if checkpoint is None and centroids_are == "learned":
            cluster()
        return ShuffledBatches(labels, experiment.batch_size, seed)
    if checkpoint is None:
        clusters = cluster()
        assignments, centroids = clusters.assignments, clusters.centroids
    else:
        assignments = checkpoint["batches/assignments"]
        centroids = checkpoint["batches/centroids"]
    settings = experiment.clustering
    return NeighbourhoodSampler(
        labels,
        assignments,
        centroids,
        settings.clusters_per_batch,
        settings.examples_per_cluster,
        seed=seed,
    )


def _fix_clusters(classifier: Classifier) -> None:
    head, dim = classifier.head, classifier.backbone.output_shape[-1]
    if dim < head.num_clusters:
        raise InputError(
            f"config.objective.centroids=fixed needs embeddings of dimension "
            f"{head.num_clusters}, one for each cluster. Received: {dim}"
        )
    head.set_clusters(np.eye(head.num_clusters, dim), variance=1.0)
