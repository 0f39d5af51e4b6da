"""`python -m clustr_tf.evaluate`: attacks a finished model."""

import dataclasses
import shlex
import sys
from pathlib import Path

from absl import flags

from clustr_tf.cli.flags import (
    EXAMPLES,
    TRUST_PLUGINS,
    WORKDIR,
    FractionParser,
    quiet_start,
    required_workdir,
    run,
)
from clustr_tf.run.errors import InputError

_EPS = flags.DEFINE(
    FractionParser(), "eps", None, "attack radius in pixels; default: the run's config"
)
_NORM = flags.DEFINE_enum("norm", None, ["linf", "l2"], "norm of eps; default: the run's config")
_ATTACKS = flags.DEFINE_list(
    "attacks",
    None,
    "what to measure: clean, pgd, pgd_paper, apgd_ce, apgd_dlr, apgd_t, fab, fab_t, square, "
    "ensemble, standard, plus, rand (AutoAttack's versions), transfer; default: those of the "
    "protocol",
)
_PROTOCOL = flags.DEFINE_enum(
    "protocol",
    "adaptive",
    ["adaptive", "paper"],
    "adaptive: clean, pgd, pgd_paper, ensemble and diagnostics. paper: the published protocol "
    "alone (exp-scores attacked as logits, four radii), which overstates robustness",
)
_STEPS = flags.DEFINE_integer(
    "steps", None, "gradient steps of pgd; default: the run's config", lower_bound=1
)
_RESTARTS = flags.DEFINE_integer(
    "restarts", None, "random starts of pgd; default: the run's config", lower_bound=1
)
_SOURCE = flags.DEFINE_string("source", None, "workdir whose model the attack transfer is made on")
_STRATEGY = flags.DEFINE_enum(
    "strategy", "default", ["default", "mirrored"], "mirrored: all GPUs share the work"
)
_SEARCH_PRECISION = flags.DEFINE_enum(
    "search_precision",
    None,
    ["auto", "float32", "mixed_bfloat16"],
    "of the backbone in the attacks' gradients; auto: bfloat16 where training takes it. Verdicts "
    "are always float32; default: the run's config",
)
_COMPARE = flags.DEFINE_bool(
    "compare", False, "rank evaluated workdirs on one page: --compare DIR1 DIR2 ..."
)
_OUTPUT = flags.DEFINE_string(
    "output", "comparison.html", "the page that --compare writes; with --model the results' folder"
)
_MODEL = flags.DEFINE_string(
    "model", None, "instead of --workdir: a Keras file or the folder of a SavedModel"
)
_DATA = flags.DEFINE_string(
    "data",
    None,
    "with --model: a data set's name, a folder or archive with train/CLASS/ and test/CLASS/, or an "
    ".npz with images and labels",
)
_PIXEL_RANGE = flags.DEFINE_list(
    "pixel_range", ["0", "1"], "with --model: what black and white are for it, such as 0,255"
)
_FEW, _DEFAULT_EPS = 1000, 8 / 255
flags.declare_key_flag("workdir")
flags.declare_key_flag("examples")
flags.declare_key_flag("trust_plugins")


def main(arguments: list[str]) -> None:
    """Evaluates, or compares, what the flags say.

    Args:
        arguments: what follows the flags: the workdirs that --compare ranks.
    """
    if _COMPARE.value:
        _compare([Path(folder) for folder in arguments], Path(_OUTPUT.value))
        return
    if arguments:
        raise InputError(f"unexpected argument {arguments[0]!r}: options are given as --name=value")
    if _MODEL.value is not None:
        _evaluate_foreign(Path(_MODEL.value))
        return
    root = required_workdir()
    with quiet_start():
        from clustr_tf.cli.config import experiment_of, trusted_classifier
        from clustr_tf.evaluate.run import run_evaluation
        from clustr_tf.evaluate.suite import PROTOCOLS
        from clustr_tf.run.distribution import STRATEGIES
        from clustr_tf.run.workdir import Workdir

    workdir, protocol = Workdir(root), PROTOCOLS[_PROTOCOL.value]
    experiment = experiment_of(workdir, TRUST_PLUGINS.value)
    eps = protocol.eps if _EPS.value is None else _EPS.value
    try:
        plan = experiment.evaluation.replaced(
            eps,
            _NORM.value,
            EXAMPLES.value,
            _STEPS.value,
            _RESTARTS.value,
            experiment.search_precision(_SEARCH_PRECISION.value),
        )
    except ValueError as error:
        raise InputError(f"--{error}") from error
    strategy, source = STRATEGIES[_STRATEGY.value](), None
    with strategy.scope():
        classifier = workdir.load_classifier()
        if _SOURCE.value:
            source = trusted_classifier(Workdir(Path(_SOURCE.value)), TRUST_PLUGINS.value)
    run_evaluation(
        workdir,
        classifier,
        experiment.dataset.load(),
        plan,
        protocol=protocol,
        attacks=_ATTACKS.value,
        source=source,
        seed=experiment.training.seed,
        strategy=strategy,
        config=experiment.values,
        configured=experiment.evaluation.attack,
    )


def _evaluate_foreign(path: Path) -> None:
    if WORKDIR.value is not None or _DATA.value is None or not flags.FLAGS["output"].present:
        raise InputError("--model needs --data=DATA and --output=DIR, and no --workdir")
    if _NORM.value == "l2" and _EPS.value is None:
        raise InputError("--norm=l2 needs --eps=RADIUS")
    try:
        black, white = map(float, _PIXEL_RANGE.value)
    except ValueError as error:
        raise InputError(
            f"--pixel_range must be BLACK,WHITE. Received: {','.join(_PIXEL_RANGE.value)}"
        ) from error
    with quiet_start():
        from clustr_tf.evaluate.any_model import evaluate_robustness
        from clustr_tf.evaluate.foreign import load_examples, load_foreign_model
    images, labels = load_examples(_DATA.value, EXAMPLES.value or _FEW)
    try:
        report = evaluate_robustness(
            load_foreign_model(path),
            images,
            labels,
            eps=_DEFAULT_EPS if _EPS.value is None else _EPS.value,
            norm=_NORM.value or "linf",
            attacks=_ATTACKS.value or "standard",
            pixel_range=(black, white),
            show_progress=True,
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"--model={path}: {error}") from error
    report = dataclasses.replace(
        report,
        model=str(path),
        data=f"{_DATA.value}, first {len(labels)} test images",
        command=shlex.join(["python", "-m", "clustr_tf.evaluate", *sys.argv[1:]]),
    )
    report.save(_OUTPUT.value)
    print(report)


def _compare(folders: list[Path], output: Path) -> None:
    if WORKDIR.value is not None or not folders:
        raise InputError("--compare takes evaluated workdirs after it and no --workdir")
    from clustr_tf.evaluate.report import read_evaluation, write_report

    write_report(output, [read_evaluation(folder) for folder in folders])
    print(f"{output} compares {len(folders)} workdirs")


def cli() -> None:
    """Entry point of `clustr-evaluate`."""
    run(main, takes_arguments=True)


if __name__ == "__main__":
    cli()
