"""A stand-in for the process that trains: metrics from a formula, at once."""

import json
import math

from clustr_tf.train.callbacks.record import write_metrics


def trained(root):
    """Best at a learning rate of 1e-3, with width 16, and after many epochs.

    Width 7 fails, as a diverged training would.
    """
    config = json.loads((root / "config.json").read_text())
    if config["backbone"]["width"] == 7:
        return "The loss is NaN or infinite in step 3 (epoch 1)", 100.0
    epochs = config["training"]["epochs"]
    distance = abs(math.log10(config["optimizer"]["learning_rate"]) + 3)
    pgd = 0.9 - 0.2 * distance - 0.01 * abs(config["backbone"]["width"] - 16) - 0.5 / epochs
    rows = [
        {
            "epoch": epoch,
            "loss": 1.0,
            "val_accuracy": 1 - pgd,
            # The best epoch is the last but one.
            "val_pgd_accuracy": pgd - (epoch != epochs - 1) * 0.01,
            "seconds": 2.0,
        }
        for epoch in range(1, epochs + 1)
    ]
    write_metrics(root / "metrics.csv", rows)
    return None, 100.0
