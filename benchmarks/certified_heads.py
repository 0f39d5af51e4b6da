"""Which head certifies most on the same 1-Lipschitz backbone and budget.

    python -m benchmarks.certified_heads --output=runs/heads

Digits with configs/digits_certified.py but for centroids, K and seed: learned and refreshed
centroids, and the dense layer with orthonormal rows (`fixed`, K = 1). Finished runs are not
repeated. Prints certified accuracy at l2 0.5 of the soft scores and of the nearest cluster by each
proof.
"""

from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks.runs import cell, finished_run, read_run
from clustr_tf.certify.images import certify_images
from clustr_tf.certify.radii import nearest_cluster_proof, soft_score_proof

_OUTPUT = flags.DEFINE_string("output", "runs/heads", "folder of the workdirs")
_SEEDS = flags.DEFINE_integer("seeds", 3, "seeds of each head, from 0")
_CLUSTERS = flags.DEFINE_list("clusters", ["1", "2", "4", "8"], "K of learned and refreshed")
_RADIUS = 0.5
_PROOFS = ("nearest", "pairwise", "exact")


def certified(root: Path) -> list[float]:
    """Clean accuracy, then certified accuracy of the soft scores and of each proof."""
    _, classifier, dataset = read_run(root)
    proofs = [soft_score_proof(None), *map(nearest_cluster_proof, _PROOFS)]
    images, labels = dataset.test_images, dataset.test_labels
    result = certify_images(classifier, images, labels, proofs, search=None)
    return [
        float(np.mean(result.best.correct)),
        *(proved.certified_accuracy(_RADIUS) for proved in result.further),
    ]


def main(arguments: list[str]) -> None:
    """Runs what is missing and prints the table as Markdown."""
    del arguments
    heads = [("fixed", 1)]
    heads += [(kind, int(k)) for kind in ("learned", "refreshed") for k in _CLUSTERS.value]
    print(f"| centroids | K | clean | soft scores at {_RADIUS} | " + " | ".join(_PROOFS) + " |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for kind, clusters in heads:
        figures = []
        for seed in range(_SEEDS.value):
            root = Path(_OUTPUT.value) / f"{kind}-{clusters}-{seed}"
            finished_run(
                root,
                "--config=configs/digits_certified.py",
                f"--config.method.centroids={kind}",
                f"--config.clustering.clusters_per_class={clusters}",
                f"--config.training.seed={seed}",
            )
            figures.append(certified(root))
        cells = [cell(values, 100, 1) for values in zip(*figures, strict=True)]
        print(f"| {kind} | {clusters} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    app.run(main)
