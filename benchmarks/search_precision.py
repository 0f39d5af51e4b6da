"""What attacks leave that search in bfloat16, beside the same ones in float32.

    python -m benchmarks.search_precision --workdir=runs/cifar10_at_thin --examples=200 --steps=20

Every verdict is the float32 network's. Prints the accuracy that each attack leaves of its own, the
examples that only one of the two breaks, and CPU seconds, compilation apart.
"""

import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

from benchmarks.runs import read_run
from clustr_tf.attacks import RobustnessEvaluator
from clustr_tf.evaluate.attacking import Examples, Memory
from clustr_tf.evaluate.search_network import in_precision
from clustr_tf.evaluate.suite import Target, build_stages

_WORKDIR = flags.DEFINE_string("workdir", "runs/cifar10_at_thin", "a finished run")
_EXAMPLES = flags.DEFINE_integer("examples", 200, "the first so many test images")
_STEPS = flags.DEFINE_integer("steps", 20, "of Auto-PGD, on each loss and target")
_ATTACKS = ("pgd_ce", "pgd_margin", "apgd_ce", "apgd_t")
_PRECISIONS = ("float32", "mixed_bfloat16")


def main(arguments: list[str]) -> None:
    """Measures the attacks in turn and prints the table."""
    del arguments
    run = read_run(_WORKDIR.value)
    plan = dataclasses.replace(run.experiment.evaluation, apgd_steps=_STEPS.value)
    images = run.dataset.test_images[: _EXAMPLES.value]
    labels = run.dataset.test_labels[: _EXAMPLES.value]
    network, shape = run.classifier, run.classifier.image_shape
    table = Table("attack", *_PRECISIONS, "only float32", "only bfloat16", "CPU seconds")
    with tempfile.TemporaryDirectory() as folder:
        examples = {}
        for precision in _PRECISIONS:
            searched = in_precision(network, precision)
            target = Target(network, shape, run.dataset.num_classes, plan, search=searched)
            evaluator = RobustnessEvaluator(network, shape, build_stages(target), plan.batch_size)
            memory = Memory(Path(folder) / precision, {})
            examples[precision] = Examples(evaluator, images, labels, 0, memory)
        for attack in _ATTACKS:
            found, seconds = [], []
            for each in examples.values():
                first = np.arange(len(labels)) < 1
                each.evaluator.broken_by(attack, images, labels, first, plan.attack.eps)
                begin = time.process_time()
                found.append(each.attacked(attack, (attack,), plan.attack.eps).any_broken)
                seconds.append(time.process_time() - begin)
            correct = next(iter(examples.values())).correct
            table.add_row(
                attack,
                *(f"{np.mean(correct & ~broken):.2%}" for broken in found),
                str(int(np.sum(found[0] & ~found[1]))),
                str(int(np.sum(found[1] & ~found[0]))),
                " / ".join(f"{spent:.1f}" for spent in seconds),
            )
    Console().print(table)


if __name__ == "__main__":
    app.run(main)
