"""`python -m clustr_tf.certify`: proves radii for a finished model."""

from absl import flags

from clustr_tf.commands import EXAMPLES, parse_fraction, required_workdir, run
from clustr_tf.errors import InputError

_RADII = flags.DEFINE_list(
    "radii",
    ["36/255", "72/255", "108/255"],
    "l2 radii in pixels at which certified accuracy is reported; fractions allowed",
)
_METHOD = flags.DEFINE_enum(
    "method",
    "pairwise",
    ["nearest", "pairwise", "exact"],
    "how the nearest-cluster classifier's radius is computed",
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
    from clustr_tf.certification.run import run_certification

    run_certification(workdir, radii, EXAMPLES.value, _METHOD.value)


def cli() -> None:
    """Entry point of `clustr-certify`."""
    run(main)


if __name__ == "__main__":
    cli()
