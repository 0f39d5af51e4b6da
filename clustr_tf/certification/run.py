"""A complete certification: radii of a finished model, certificates.json and .npz."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from clustr_tf.certification.images import certify_images
from clustr_tf.certification.intervals import certified_accuracy_linf
from clustr_tf.datasets import load_dataset
from clustr_tf.errors import InputError
from clustr_tf.files import write_arrays, write_json
from clustr_tf.provenance import versions
from clustr_tf.workdir import Workdir


def run_certification(
    root: Path, radii: tuple[float, ...], examples: int | None, method: str
) -> None:
    """Certifies the test images of a workdir's data set and writes the result there.

    Args:
        root: the workdir of a finished run.
        radii: l2 radii in pixels at which certified accuracy is reported.
        examples: the first so many test images; None for all.
        method: of the nearest-cluster radius.

    Raises:
        InputError: if the workdir is incomplete, or its model or the method has no certificate.
    """
    workdir, console = Workdir(root), Console()
    experiment = workdir.experiment()
    classifier = workdir.load_classifier()
    dataset = load_dataset(experiment.dataset)
    labels = dataset.test_labels[:examples]
    begin = time.perf_counter()
    try:
        result = certify_images(classifier, dataset.test_images[:examples], labels, method)
    except ValueError as error:
        raise InputError(str(error)) from error
    seconds = time.perf_counter() - begin
    figures = {
        "model": str(workdir.model),
        "data": f"{dataset.name}, first {len(labels)} test images",
        "examples": len(labels),
        "clean_accuracy": float(np.mean(result.correct)),
        "certified_accuracy_l2": [
            {"radius": radius, "accuracy": result.certified_accuracy(radius)} for radius in radii
        ],
        "mean_radius_l2": float(np.mean(result.radius_l2)),
        "median_radius_l2": float(np.median(result.radius_l2)),
        "largest_radius_l2": float(np.max(result.radius_l2)),
        "median_radius_linf_by_norm_equivalence": float(np.median(result.radius_linf)),
        "abstentions": result.abstentions,
        "nearest_cluster_method": method,
        "median_nearest_cluster_radius_l2": float(np.median(result.nearest_cluster_radius_l2)),
        "lipschitz_bound": result.bound.gain,
        "seconds_per_image": seconds / len(labels),
        "versions": versions(),
    }
    attack = experiment.evaluation.attack
    if attack.norm == "linf":
        images = dataset.test_images[:examples]
        share = certified_accuracy_linf(classifier, images, labels, attack.eps)
        if share is not None:
            figures["certified_accuracy_linf_by_intervals"] = [
                {"eps": attack.eps, "accuracy": share}
            ]
    write_json(root / "certificates.json", figures)
    arrays = {
        "labels": result.labels,
        "predictions": result.predictions,
        "radius_l2": result.radius_l2,
        "radius_linf": result.radius_linf,
        "nearest_cluster_radius_l2": result.nearest_cluster_radius_l2,
    }
    write_arrays(root / "certificates.npz", arrays)
    _print(console, figures, root)


def _print(console: Console, figures: dict[str, Any], root: Path) -> None:
    console.print(f"{figures['data']}: proved for every change inside the l2 ball")
    table = Table()
    table.add_column("l2 radius in pixels")
    table.add_column("certified accuracy")
    table.add_row("clean (no proof)", f"{figures['clean_accuracy']:.2%}")
    for entry in figures["certified_accuracy_l2"]:
        table.add_row(f"{entry['radius']:.4g}", f"{entry['accuracy']:.2%}")
    console.print(table)
    for entry in figures.get("certified_accuracy_linf_by_intervals", []):
        console.print(
            f"l-infinity, eps {entry['eps']:.4g}: {entry['accuracy']:.2%} certified by intervals"
        )
    console.print(
        f"median radius {figures['median_radius_l2']:.3g}, abstentions "
        f"{figures['abstentions']:.2%}, Lipschitz bound {figures['lipschitz_bound']:.4g}; "
        f"see {root}/certificates.json",
        soft_wrap=True,
        highlight=False,
    )
