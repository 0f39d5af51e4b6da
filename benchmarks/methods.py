"""Every training method on digits: what each is for, in one table.

    python -m benchmarks.methods --output=runs/methods

Each run has digits:plain but for method and seed; methods with an eps have the one that is
attacked afterwards. Finished runs are not repeated, unfinished ones are resumed. Prints the
table of docs/results.md.
"""

from pathlib import Path

from absl import app, flags

from benchmarks.bare_step import METHODS_ANYWHERE
from benchmarks.runs import cell, finished_run
from clustr_tf.configs import digits
from clustr_tf.methods import METHODS

_OUTPUT = flags.DEFINE_string("output", "runs/methods", "folder of the workdirs")
_SEEDS = flags.DEFINE_integer("seeds", 3, "seeds of each method, from 0")
_METHODS = flags.DEFINE_list("methods", METHODS_ANYWHERE, "training methods")
_OPTIONS = flags.DEFINE_multi_string("option", [], "further flag of the training command")


def main(arguments: list[str]) -> None:
    """Runs what is missing and prints the table as Markdown."""
    del arguments
    eps = digits.get_config("plain").evaluation.attack.eps
    print("| method | clean accuracy % | PGD accuracy % | seconds of training |")
    print("| --- | --- | --- | --- |")
    for method in _METHODS.value:
        runs = [
            finished_run(
                Path(_OUTPUT.value) / f"{method}-{seed}",
                "--config=configs/digits.py:plain",
                f"--config.method.name={method}",
                *([f"--config.method.eps={eps}"] if hasattr(METHODS[method], "eps") else []),
                f"--config.training.seed={seed}",
                *_OPTIONS.value,
            )
            for seed in range(_SEEDS.value)
        ]
        figures = [
            cell([run["test/accuracy"] for run in runs], 100, 2),
            cell([run["test/pgd_accuracy"] for run in runs], 100, 2),
            cell([run["training_seconds"] for run in runs], 1, 0),
        ]
        print(f"| `{method}` | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    app.run(main)
