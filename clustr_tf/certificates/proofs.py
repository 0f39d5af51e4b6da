"""Which classifier, by which proof: the one description that commands, files and pages share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clustr_tf.certificates.clusters import ClusterGeometry
from clustr_tf.certificates.nearest_cluster import (
    METHODS,
    MOST_CLUSTERS_FOR_EXACT,
    nearest_cluster_margin,
)
from clustr_tf.certificates.soft_score import soft_score_margin

_Margin = Callable[[Any, ClusterGeometry, Any], tuple[Any, Any]]


@dataclass(frozen=True)
class Proof:
    """A classifier and a way to prove its radius.

    Attributes:
        key: for names of arrays and entries of files.
        classifier: in words.
        method: in words.
        margin: (squared distances `[batch, C*K]`, geometry, sigma^2) -> class int64 `[batch]` and
            radius in embedding space `[batch]` >= 0.

    Example:
        >>> soft_score_proof(None).title  # "soft scores, all clusters"
    """

    key: str
    classifier: str
    method: str
    margin: _Margin

    @property
    def title(self) -> str:
        """Classifier and method."""
        return f"{self.classifier}, {self.method}"


def nearest_cluster_proof(method: str) -> Proof:
    """The nearest-cluster classifier, proved by "nearest", "pairwise" or "exact"."""

    def margin(distances: Any, geometry: ClusterGeometry, variance: Any) -> tuple[Any, Any]:
        return nearest_cluster_margin(distances, geometry, method)

    return Proof(f"nearest_cluster_{method}", "nearest cluster", method, margin)


def soft_score_proof(nearest: int | None) -> Proof:
    """The soft classifier with the L nearest clusters; None for all."""

    def margin(distances: Any, geometry: ClusterGeometry, variance: Any) -> tuple[Any, Any]:
        return soft_score_margin(
            distances,
            geometry.centroids,
            geometry.gaps,
            variance,
            geometry.clusters_per_class,
            nearest,
        )

    if nearest is None:
        return Proof("soft_scores_all", "soft scores", "all clusters", margin)
    return Proof(f"soft_scores_{nearest}_nearest", "soft scores", f"{nearest} nearest", margin)


def all_proofs(
    num_clusters: int, clusters_per_class: int, ranked: int | None, further: int | None = None
) -> tuple[list[Proof], list[str]]:
    """Every classifier and proof that a clustering head admits.

    Args:
        num_clusters: C * K.
        clusters_per_class: K.
        ranked: the head's own L; None for all clusters. Its proof comes first.
        further: another L.

    Returns:
        The proofs, and one line on each that was left out.

    Raises:
        ValueError: if `further` is not from 1 to C * K - 1.

    Example:
        >>> all_proofs(20, 2, ranked=None, further=5)[0][1].title  # "soft scores, 5 nearest"
    """
    if further is not None and not 1 <= further < num_clusters:
        raise ValueError(
            f"nearest must be from 1 to {num_clusters - 1}, one less than all clusters. "
            f"Received: {further}"
        )
    own = None if ranked is None or ranked >= num_clusters else ranked
    soft = dict.fromkeys([own, None, *([] if further is None else [further])])
    proofs = [soft_score_proof(nearest) for nearest in soft]
    left_out = []
    if set(soft) == {None}:
        left_out.append("soft scores, L nearest: the head takes all clusters; --nearest=L asks")
    for method in METHODS:
        if method == "exact" and clusters_per_class > MOST_CLUSTERS_FOR_EXACT:
            left_out.append(
                f"nearest cluster, exact: {clusters_per_class} clusters a class, more than "
                f"{MOST_CLUSTERS_FOR_EXACT}; its time doubles with each"
            )
        else:
            proofs.append(nearest_cluster_proof(method))
    return proofs, left_out
