"""`python -m clustr_tf.certify`: proves radii for a finished model."""

from pathlib import Path

from absl import flags

from clustr_tf.cli.entries import parse_fraction
from clustr_tf.cli.flags import EXAMPLES, TRUST_PLUGINS, quiet_start, required_workdir, run
from clustr_tf.run.errors import InputError

_RADII = flags.DEFINE_list(
    "radii",
    None,
    "radii in pixels at which certified accuracy is reported in both norms, such as 36/255,72/255; "
    "default: five that suit what is proved",
)
_ALL_PROOFS = flags.DEFINE_bool(
    "all_proofs", False, "shows every classifier and proof one by one, besides the best of them"
)
_NEAREST = flags.DEFINE_integer(
    "nearest",
    None,
    "proves the soft scores of the L nearest clusters too, for a head that takes all or another L",
    lower_bound=1,
)
_RELAXATION = flags.DEFINE_bool(
    "linear_relaxation",
    False,
    "goes on from interval bounds by linear relaxation (CROWN): larger radii, at half a second and "
    "more an image",
)
flags.declare_key_flag("workdir")
flags.declare_key_flag("examples")
flags.declare_key_flag("trust_plugins")


def main() -> None:
    """Certifies what the flags say."""
    root = required_workdir()
    radii = _asked_radii()
    with quiet_start():
        from clustr_tf.certify.report import certify_workdir
        from clustr_tf.cli.config import experiment_of
        from clustr_tf.run.workdir import Workdir

    workdir = Workdir(root)
    experiment = experiment_of(workdir, TRUST_PLUGINS.value)
    attack = experiment.evaluation.attack
    certify_workdir(
        workdir,
        workdir.load_classifier(),
        experiment.dataset.load(),
        radii,
        EXAMPLES.value,
        _NEAREST.value,
        linf_eps=attack.eps if attack.norm == "linf" else None,
        singly=_ALL_PROOFS.value,
        relaxation=_RELAXATION.value,
    )
    with workdir.writing():
        _renew_report(root)


def _asked_radii() -> tuple[float, ...] | None:
    if _RADII.value is None:
        return None
    try:
        radii = tuple(parse_fraction(radius) for radius in _RADII.value)
    except ValueError as error:
        raise InputError(f"--radii {error}") from error
    if not radii or min(radii) < 0:
        raise InputError(f"--radii must be numbers of at least 0. Received: {_RADII.value}")
    return radii


def _renew_report(root: Path) -> None:
    """The page of an evaluation that came before shows the new certificates too."""
    if (root / "robustness.json").exists():
        from clustr_tf.evaluate.report import read_evaluation, write_report

        write_report(root / "report.html", [read_evaluation(root)])
        print(f"{root}/report.html shows them")


def cli() -> None:
    """Entry point of `clustr-certify`."""
    run(main)


if __name__ == "__main__":
    cli()
