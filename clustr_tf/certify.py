"""`python -m clustr_tf.certify`: proves radii for a finished model."""

from pathlib import Path

from absl import flags

from clustr_tf.commands import EXAMPLES, parse_fraction, quiet_start, required_workdir, run
from clustr_tf.errors import InputError

_RADII = flags.DEFINE_list(
    "radii",
    ["36/255", "72/255", "108/255"],
    "l2 radii in pixels at which certified accuracy is reported; fractions allowed",
)
_NEAREST = flags.DEFINE_integer(
    "nearest",
    None,
    "proves the soft scores of the L nearest clusters too, for a head that takes all or another L",
    lower_bound=1,
)
flags.declare_key_flag("workdir")
flags.declare_key_flag("examples")


def main() -> None:
    """Certifies what the flags say."""
    workdir = required_workdir()
    try:
        radii = tuple(parse_fraction(radius) for radius in _RADII.value)
    except ValueError as error:
        raise InputError(f"--radii {error}") from error
    if not radii or min(radii) < 0:
        raise InputError(f"--radii must be numbers of at least 0. Received: {_RADII.value}")
    with quiet_start():
        from clustr_tf.certification.run import run_certification

    run_certification(workdir, radii, EXAMPLES.value, _NEAREST.value)
    _renew_report(workdir)


def _renew_report(workdir: Path) -> None:
    """The page of an evaluation that came before shows the new certificates too."""
    if (workdir / "robustness.json").exists():
        from clustr_tf.evaluation.report import read_evaluation, write_report

        write_report(workdir / "report.html", [read_evaluation(workdir)])
        print(f"{workdir}/report.html shows them")


def cli() -> None:
    """Entry point of `clustr-certify`."""
    run(main)


if __name__ == "__main__":
    cli()
