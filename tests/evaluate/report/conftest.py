"""A made-up evaluation of the digits: figures of no model, drawn with a fixed seed."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

EXAMPLES = 360
EPS = 0.1
CURVE = [0.0, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3]
# Factor on the eps that an attack needs: the ensemble needs least.
ATTACKS = {
    "pgd": 1.1,
    "pgd_paper": 2.4,
    "apgd_ce": 1.07,
    "apgd_t": 1.02,
    "square": 1.3,
    "ensemble": 1,
}
SETTINGS = {
    "pgd": {"steps": 20, "restarts": 10, "losses": ["ce", "margin"]},
    "pgd_paper": {"steps": 20, "restarts": 10, "losses": ["ce on exp(log-scores)"]},
    "apgd_ce": {"steps": 100, "restarts": 1, "losses": ["ce"]},
    "apgd_t": {"steps": 100, "restarts": 1, "losses": ["targeted dlr"], "targets": 9},
    "square": {"queries": 5000, "restarts": 1, "losses": ["margin"]},
    "ensemble": {"stages": ["apgd_ce", "apgd_t", "square"]},
}


def _measured(kept):
    low, high = binomtest(int(kept.sum()), len(kept)).proportion_ci(0.95, method="wilson")
    return {"accuracy": float(kept.mean()), "interval_95": [low, high]}


def _series(kept_at, radii):
    entries = [_measured(kept_at(radius)) for radius in radii]
    return {key: [entry[key] for entry in entries] for key in ("accuracy", "interval_95")}


# The proofs of a made-up certificate: name and factor on the radius; what is served comes first.
PROOFS = {
    "soft_scores_all": ("soft scores, all clusters", 0.45),
    "nearest_cluster_pairwise": ("nearest cluster, pairwise", 0.6),
}


def _write_certificates(folder, labels, predictions, needed):
    """As `clustr_tf.certify` writes them; l2 radii are 8 times those in l-infinity."""
    entries, arrays = [], {"labels": labels}
    for key, (title, factor) in PROOFS.items():
        radii = (8 * factor * needed).astype(np.float32)
        arrays |= {
            f"predictions_{key}": predictions,
            f"radius_l2_{key}": radii,
            f"radius_linf_{key}": radii / 8,
        }
        entries.append(
            {
                "key": key,
                "title": title,
                "clean_accuracy": float(np.mean(predictions == labels)),
                "median_radius_l2": float(np.median(radii)),
                "median_radius_linf": float(np.median(radii / 8)),
                "abstentions": 0.0,
                "seconds_per_image": 0.001,
            }
        )
    figures = {"proofs": entries}
    (folder / "certificates.json").write_text(json.dumps(figures), encoding="utf-8")
    np.savez(folder / "certificates.npz", **arrays)


def _figures(labels, correct, needed, strength):
    kept = {name: correct & (needed * factor > EPS) for name, factor in ATTACKS.items()}
    robust = kept["ensemble"]
    diagnostics = [
        (
            "zero gradients",
            0.012,
            0.05,
            "share of examples on whose loss the image has no gradient",
        ),
        (
            "square beats PGD",
            0.004,
            0.02,
            "share that Square breaks without gradients and PGD does not",
        ),
        ("large eps", 0.0, 0.05, "accuracy that PGD leaves at eps 0.5"),
        ("more steps", 0.008, 0.03, "accuracy that 100 steps take beyond 20 steps"),
        ("random noise", 0.06, 0.5, "examples that noise breaks, for one that PGD breaks"),
        (
            "scale",
            0.0,
            0.01,
            "change of the accuracy when log-scores are multiplied by 0.01 or 100",
        ),
        ("losses disagree", 0.021, 0.05, "difference between PGD's accuracies by loss"),
        ("masking gap", 0.22, 0.02, "accuracy under the paper's protocol minus under the ensemble"),
    ]
    attacks = {"clean": _measured(correct)}
    for index, (name, left) in enumerate(kept.items()):
        attacked = {"seconds": 3.5 * (index + 1), "attacked": int(correct.sum())}
        attacks[name] = _measured(left) | attacked | SETTINGS[name]
    accuracy = {name: float(left.mean()) for name, left in kept.items()}
    worst_case = _measured(robust)
    return {
        "command": "python -m clustr_tf.evaluate --workdir=runs/digits --norm=linf",
        "model": "runs/digits/model.keras",
        "data": "digits, first 360 test images",
        "eps": EPS,
        "norm": "linf",
        "seed": 0,
        "examples": EXAMPLES,
        "classes": [str(digit) for digit in range(10)],
        "attacks": attacks,
        "clean_accuracy": attacks["clean"]["accuracy"],
        "worst_case_accuracy": worst_case["accuracy"],
        "worst_case_interval_95": worst_case["interval_95"],
        "worst_case_attack": "ensemble",
        "masking_gap": accuracy["pgd_paper"] - accuracy["ensemble"],
        "per_class": [
            {
                "name": str(label),
                "examples": int(np.sum(labels == label)),
                "clean_accuracy": float(correct[labels == label].mean()),
                "worst_case_accuracy": float(robust[labels == label].mean()),
            }
            for label in range(10)
        ],
        "curve": {
            "eps": CURVE,
            "attacks": {
                name: _series(
                    lambda eps, name=name: correct & (needed * ATTACKS[name] > eps), CURVE
                )
                for name in ("pgd", "pgd_paper", "ensemble")
            },
        },
        "diagnostics": [
            {
                "name": name,
                "value": value,
                "threshold": limit,
                "passed": value <= limit,
                "meaning": told,
            }
            for name, value, limit, told in diagnostics
        ],
        "config": {
            "dataset": {"name": "digits", "validation_examples": 100},
            "objective": {"name": "clustr", "alpha": 12.5, "strength": strength},
            "training": {"epochs": 20, "seed": 0},
        },
        "versions": {"python": "3.11.2", "tensorflow": "2.21.0", "cleverhans": None},
    }


def _arrays(images, labels, predictions, needed):
    correct = predictions == labels
    random = np.random.default_rng(1)
    rows = np.flatnonzero(correct & (needed <= EPS))[:8]
    clean = (images[rows] / 255).astype(np.float32)
    change = EPS * random.choice([-1.0, 1.0], clean.shape)
    flat = images.reshape(len(images), -1) / 255
    means = np.stack([flat[labels == label].mean(axis=0) for label in range(10)])
    projection = PCA(2).fit(means)
    points = projection.transform(0.45 * flat + 0.55 * means[labels])
    # Not all and not from the first on: an index on the map is no row, and no square on the sheet.
    mapped = np.arange(10, EXAMPLES - 10)
    return {
        "labels": labels,
        "clean_predictions": predictions,
        "robust": correct & (needed > EPS),
        "gallery_rows": rows,
        "gallery_images": clean,
        "gallery_adversarial": np.clip(clean + change, 0, 1).astype(np.float32),
        "gallery_predictions": (labels[rows] + random.integers(1, 10, len(rows))) % 10,
        "map_rows": mapped,
        "map_points": points[mapped].astype(np.float32),
        "map_images": images[mapped],
        "map_centroids": projection.transform(means).astype(np.float32),
        "map_centroid_labels": np.arange(10),
        "map_explained": projection.explained_variance_ratio_.astype(np.float32),
    }


@pytest.fixture(scope="session")
def write_workdir():
    """Writes the files of an evaluation and of its certificates; `edit` may change the former."""
    source = load_digits()
    images = np.round(source.images[:EXAMPLES, ..., None] * (255 / 16)).astype(np.uint8)
    labels = source.target[:EXAMPLES].astype(np.int64)

    def write(folder, edit=None, strength=0.12, certified=True):
        random = np.random.default_rng(0)
        needed = random.gamma(4.0, strength / 4, EXAMPLES) * (0.7 + 0.06 * labels)
        predictions = np.where(random.random(EXAMPLES) < 0.98, labels, (labels + 1) % 10)
        figures = _figures(labels, predictions == labels, needed, strength)
        arrays = _arrays(images, labels, predictions, needed)
        if edit is not None:
            edit(figures, arrays)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "robustness.json").write_text(json.dumps(figures), encoding="utf-8")
        np.savez(folder / "robustness.npz", **arrays)
        if certified:
            _write_certificates(folder, labels, predictions, needed)
        return folder

    return write
