"""The first epochs of one method of each family, bit for bit: run it on two trees and compare.

    python -m benchmarks.first_epochs --tree=. > new.txt
    python -m benchmarks.first_epochs --tree=../before --field=objective > old.txt
    diff old.txt new.txt

A line a method: the digest of all weights of the finished model, and of the losses of the epochs.
Weights are compared whatever their names are. Takes about a quarter of a minute a method.
"""

import argparse
import csv
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np

EPOCHS = 2
# Name of the method -> config that it is trained with.
METHODS = {
    "clustr": "digits.py:plain",
    "clustr_qtrades": "digits.py:plain",
    "clustr_trades": "digits.py:plain",
    "clustr_free": "digits.py:plain",
    "clustr_robust": "digits.py:plain",
    "clustr_at": "digits.py:at",
    "clustr_certified": "digits_certified.py",
    "clustr_ibp": "digits.py",
    "nominal": "digits.py:plain",
    "pgd_at": "digits.py:plain",
    "fast_at": "digits.py:plain",
    "free_at": "digits.py:plain",
    "trades": "digits.py:plain",
}
ATTACKED = set(METHODS) - {"clustr", "clustr_certified", "nominal"}


def weights_digest(model: Path) -> str:
    """Of all weights in a model.keras, in the order of their own digests."""
    found: list[str] = []

    def note(name: str, item: object) -> None:
        del name
        if isinstance(item, h5py.Dataset):
            array = np.ascontiguousarray(item[()])
            found.append(hashlib.sha256(str(array.shape).encode() + array.tobytes()).hexdigest())

    with zipfile.ZipFile(model) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content, "r") as file:
        file.visititems(note)
    return hashlib.sha256("".join(sorted(found)).encode()).hexdigest()[:16]


def losses_digest(metrics: Path) -> str:
    """Of the column of the loss."""
    with metrics.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    column = "train/loss" if "train/loss" in rows[0] else "loss"
    return hashlib.sha256(" ".join(row[column] for row in rows).encode()).hexdigest()[:16]


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tree", type=Path, default=Path(), help="checkout to run")
    parser.add_argument("--field", default="method", help="section of the config with the method")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    options = parser.parse_args()
    tree = options.tree.resolve()
    with tempfile.TemporaryDirectory() as folder:
        for method in options.methods:
            workdir = Path(folder, method)
            subprocess.run(
                [
                    *(sys.executable, "-m", "clustr_tf.train"),
                    f"--config={tree}/configs/{METHODS[method]}",
                    f"--workdir={workdir}",
                    f"--config.{options.field}.name={method}",
                    *([f"--config.{options.field}.eps=0.1"] if method in ATTACKED else []),
                    f"--config.training.epochs={EPOCHS}",
                    "--config.training.deterministic=True",
                ],
                cwd=tree,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            weights = weights_digest(workdir / "model.keras")
            losses = losses_digest(workdir / "metrics.csv")
            print(f"{method:18} weights {weights}  losses {losses}", flush=True)


if __name__ == "__main__":
    main()
