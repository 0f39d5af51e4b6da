"""A whole experiment: every setting of a run, checked together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clustr_tf.backbones import LIPSCHITZ_BACKBONES, BackboneConfig
from clustr_tf.datasets import Dataset, DatasetConfig
from clustr_tf.errors import InputError
from clustr_tf.evaluation.settings import EvaluationConfig
from clustr_tf.objectives import ObjectiveConfig, build_objective
from clustr_tf.sections import read_section, section_values
from clustr_tf.training.settings import (
    ClusteringConfig,
    OptimizerConfig,
    TrainingConfig,
    WatchConfig,
)


@dataclass(frozen=True)
class Experiment:
    """Every setting of a run; each section is validated where it is defined.

    Raises:
        InputError: if sections contradict each other.
    """

    dataset: DatasetConfig
    backbone: BackboneConfig
    clustering: ClusteringConfig
    objective: ObjectiveConfig
    optimizer: OptimizerConfig
    training: TrainingConfig
    watch: WatchConfig
    evaluation: EvaluationConfig

    def __post_init__(self) -> None:
        if self.training.checkpoint == "best_pgd" and not self.dataset.validation_examples:
            raise InputError(
                "config.dataset.validation_examples must be above 0 with "
                "config.training.checkpoint=best_pgd: the best epoch is never chosen on test "
                "images. Received: 0"
            )
        is_lipschitz = self.backbone.name in LIPSCHITZ_BACKBONES
        if self.objective.name == "clustr_certified" and not is_lipschitz:
            raise InputError(
                f"config.backbone.name must be one of {sorted(LIPSCHITZ_BACKBONES)} with "
                f"config.objective.name=clustr_certified. Received: {self.backbone.name!r}"
            )
        if self.watch.certified_radius is not None and not is_lipschitz:
            raise InputError(
                "config.watch.certified_radius must be None unless config.backbone.name is one of "
                f"{sorted(LIPSCHITZ_BACKBONES)}. Received: {self.watch.certified_radius}"
            )

        if self.watch.certified_linf is not None:
            # Interval bounds are those of clusters, and of a network that computes in float32.
            if build_objective(self.objective).centroids is None:
                raise InputError(
                    "config.watch.certified_linf must be None with "
                    f"config.objective.name={self.objective.name}, which has no clusters. "
                    f"Received: {self.watch.certified_linf}"
                )
            if self.training.precision != "float32":
                raise InputError(
                    "config.watch.certified_linf must be None unless config.training.precision is "
                    f"float32. Received: {self.watch.certified_linf}"
                )

    @property
    def batch_size(self) -> int:
        """The images of one replica's batch; a neighbourhood with small clusters has fewer."""
        neighbourhood = self.clustering.clusters_per_batch * self.clustering.examples_per_cluster
        if build_objective(self.objective).centroids == "refreshed":
            return neighbourhood
        return self.training.batch_size or neighbourhood


def read_experiment(config: Mapping[str, Any]) -> Experiment:
    """Checks a resolved config file.

    Args:
        config: nested mappings with the fields of `Experiment`.

    Returns:
        The experiment.

    Raises:
        InputError: one line naming the field, what was received and what is allowed.

    Example:
        >>> read_experiment(get_config().to_dict())
    """
    return read_section(Experiment, config, "config")


def check_fits(experiment: Experiment, dataset: Dataset) -> None:
    """Refuses combinations of settings and data that cannot work, before any training.

    Args:
        experiment: the settings.
        dataset: the loaded data.

    Raises:
        InputError: if there is but one class; if K exceeds the smallest class of the images that
            are left to train on, M the clusters a neighbourhood can have, L the number of
            clusters, or a shuffled batch the training images; each only of methods that use it.

    Example:
        >>> check_fits(experiment, load_dataset(experiment.dataset))
    """
    clustering, classes = experiment.clustering, dataset.num_classes
    per_class, per_batch = clustering.clusters_per_class, clustering.clusters_per_batch
    if classes < 2:
        raise InputError(
            "config.dataset.name must be data of two classes or more. "
            f"Received: {dataset.name} with {classes}"
        )
    centroids = build_objective(experiment.objective).centroids
    batch_size, images = experiment.batch_size, len(dataset.train_labels)
    if centroids != "refreshed" and batch_size > images:
        raise InputError(
            f"config.training.batch_size must be at most {images}, the number of training "
            f"images of {dataset.name}. Received: {batch_size}"
        )
    if centroids is None:
        return
    smallest = int(np.bincount(dataset.train_labels, minlength=classes).min())
    if per_class > smallest:
        raise InputError(
            f"config.clustering.clusters_per_class must be at most {smallest}, the size of the "
            f"smallest class of {dataset.name}. Received: {per_class}"
        )
    neighbourhood = per_class * (classes - 1) + 1
    if centroids == "refreshed" and per_batch > neighbourhood:
        raise InputError(
            f"config.clustering.clusters_per_batch must be at most {neighbourhood}: one seed and "
            f"the {neighbourhood - 1} clusters of other classes. Received: {per_batch}"
        )
    for path, nearest in [
        ("clustering.nearest", clustering.nearest),
        ("objective.nearest", experiment.objective.nearest),
    ]:
        if nearest is not None and nearest > per_class * classes:
            raise InputError(
                f"config.{path} must be at most {per_class * classes}, the number of clusters. "
                f"Received: {nearest}"
            )


def changed_fields(old: Experiment, new: Experiment) -> list[str]:
    """The dotted names of the fields in which two experiments differ.

    Args:
        old: one experiment.
        new: another.

    Returns:
        Names such as "training.epochs", sorted; empty if the two are equal.
    """
    before, after = _leaves(section_values(old)), _leaves(section_values(new))
    return sorted(name for name in before if before[name] != after[name])


def _leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted name."""
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            leaves |= _leaves(value, f"{prefix}{name}.")
        else:
            leaves[f"{prefix}{name}"] = value
    return leaves
