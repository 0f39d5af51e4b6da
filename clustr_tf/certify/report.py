"""What `python -m clustr_tf.certify` finds out, writes and prints."""

from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from clustr_tf.certify.images import (
    Certification,
    ProvedRadii,
    certified_accuracy_linf,
    certify_images,
)
from clustr_tf.certify.radii import all_proofs, certified_classifier
from clustr_tf.classifier import Classifier
from clustr_tf.data import Dataset
from clustr_tf.run.errors import InputError
from clustr_tf.run.files import write_arrays, write_json
from clustr_tf.run.provenance import versions
from clustr_tf.run.workdir import Workdir


def certify_workdir(
    workdir: Workdir,
    classifier: Classifier,
    dataset: Dataset,
    radii: tuple[float, ...],
    examples: int | None = None,
    nearest: int | None = None,
    linf_eps: float | None = None,
) -> None:
    """Certifies test images by every proof; writes certificates.json and .npz, prints a table.

    The Lipschitz bound joins the model's file, if it is not there yet.

    Args:
        workdir: of the classifier, where its model and the results lie.
        classifier: the finished model.
        dataset: whose test images are certified.
        radii: l2 radii in pixels at which certified accuracy is reported.
        examples: the first so many test images; None for all.
        nearest: an L, beside the head's own, for the soft scores of the L nearest clusters.
        linf_eps: l-infinity radius in pixels at which accuracy is certified by intervals, where
            the network has interval bounds; None for none.

    Raises:
        InputError: if the model has no certificate, or `nearest` is no number of its clusters;
            nothing is written.

    Example:
        >>> certify_workdir(workdir, workdir.load_classifier(), dataset, radii=(36 / 255,))
    """
    images, labels = dataset.test_images[:examples], dataset.test_labels[:examples]
    try:
        result, left_out = _certified(classifier, images, labels, nearest)
    except ValueError as error:
        raise InputError(str(error)) from error
    figures = {
        "model": str(workdir.model),
        "data": f"{dataset.name}, first {len(labels)} test images",
        "examples": len(labels),
        **_figures(result.main, radii, result.num_pixels),
        **result.bound.figures(),
        "num_pixels": result.num_pixels,
        "embedding_seconds_per_image": result.embedding_seconds / len(labels),
        "proofs": [
            {
                "key": proved.proof.key,
                "title": proved.proof.title,
                "classifier": proved.proof.classifier,
                "method": proved.proof.method,
                **_figures(proved, radii, result.num_pixels),
            }
            for proved in result.proved
        ],
        "left_out": left_out,
        "versions": versions(),
    }
    if linf_eps is not None:
        share = certified_accuracy_linf(classifier, images, labels, linf_eps)
        if share is not None:
            by_intervals = [{"eps": linf_eps, "accuracy": share}]
            figures["certified_accuracy_linf_by_intervals"] = by_intervals
    # The arrays first: who finds the figures finds what they are of.
    with workdir.writing():
        workdir.store_bound(result.bound.figures())
        write_arrays(workdir.root / "certificates.npz", _arrays(result))
        write_json(workdir.root / "certificates.json", figures)
    _print(Console(), figures, f"{workdir.root}/certificates.json")


def _certified(
    classifier: Classifier, images: np.ndarray, labels: np.ndarray, nearest: int | None
) -> tuple[Certification, list[str]]:
    """The radii by every proof, and a line on each proof that was left out."""
    classifier = certified_classifier(classifier)
    head = classifier.head
    proofs, left_out = all_proofs(
        head.num_clusters, head.clusters_per_class, head.ranked_clusters, nearest
    )
    return certify_images(classifier, images, labels, proofs), left_out


def _figures(proved: ProvedRadii, radii: tuple[float, ...], num_pixels: int) -> dict[str, Any]:
    """One classifier and proof in figures."""
    radius = proved.radius_l2.astype(np.float64)
    return {
        "clean_accuracy": float(np.mean(proved.correct)),
        "certified_accuracy_l2": [
            {"radius": at, "accuracy": proved.certified_accuracy(at)} for at in radii
        ],
        "mean_radius_l2": float(np.mean(radius)),
        "median_radius_l2": float(np.median(radius)),
        "largest_radius_l2": float(np.max(radius)),
        "median_radius_linf_by_norm_equivalence": float(np.median(radius) / np.sqrt(num_pixels)),
        "abstentions": proved.abstentions,
        "seconds_per_image": proved.seconds / len(radius),
    }


def _arrays(result: Certification) -> dict[str, np.ndarray]:
    main = result.main
    shrunk = main.radius_l2.astype(np.float64) / np.sqrt(result.num_pixels)
    arrays = {
        "labels": main.labels,
        "predictions": main.predictions,
        "radius_l2": main.radius_l2,
        # Rounded towards zero, as a radius is.
        "radius_linf": np.nextafter(shrunk.astype(np.float32), np.float32(0)),
    }
    for proved in result.proved:
        arrays[f"predictions_{proved.proof.key}"] = proved.predictions
        arrays[f"radius_l2_{proved.proof.key}"] = proved.radius_l2
    return arrays


def _print(console: Console, figures: dict[str, Any], file: str) -> None:
    console.print(f"{figures['data']}: proved for every change inside the l2 ball (pixels)")
    at = [f"at\n{entry['radius']:.4g}" for entry in figures["certified_accuracy_l2"]]
    # Narrow enough for 80 columns with three radii.
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("classifier,\nproof", no_wrap=True)
    for column in ("clean", *at, "mean\nradius", "median\nradius", "no\nradius", "ms an\nimage"):
        table.add_column(column, justify="right", no_wrap=True)
    for proof in figures["proofs"]:
        accuracies = [entry["accuracy"] for entry in proof["certified_accuracy_l2"]]
        table.add_row(
            f"{proof['classifier']},\n{proof['method']}",
            *(f"{share:.1%}" for share in (proof["clean_accuracy"], *accuracies)),
            *(f"{proof[f'{name}_radius_l2']:.3g}" for name in ("mean", "median")),
            f"{proof['abstentions']:.1%}",
            f"{1e3 * proof['seconds_per_image']:.2g}",
        )
    console.print(table)
    for entry in figures.get("certified_accuracy_linf_by_intervals", []):
        console.print(
            f"l-infinity, eps {entry['eps']:.4g}: {entry['accuracy']:.2%} certified by intervals"
        )
    for line in figures["left_out"]:
        console.print(f"left out: {line}", highlight=False, soft_wrap=True)
    linf = figures["median_radius_linf_by_norm_equivalence"]
    console.print(
        f"Lipschitz bound {figures['lipschitz_bound']:.4g}; l-infinity by norm equivalence only "
        f"(radius / sqrt({figures['num_pixels']})): median {linf:.3g}. The embedding, once for "
        f"all, took {1e3 * figures['embedding_seconds_per_image']:.3g} ms an image; see {file}",
        soft_wrap=True,
        highlight=False,
    )
