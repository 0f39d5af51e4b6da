"""`python -m clustr_tf.evaluate`: attacks a finished model."""

from absl import flags

from clustr_tf.commands import EXAMPLES, FractionParser, required_workdir, run

_EPS = flags.DEFINE(
    FractionParser(), "eps", None, "attack radius in pixels; default: the run's config"
)
_NORM = flags.DEFINE_enum("norm", None, ["linf", "l2"], "norm of eps; default: the run's config")
_ATTACKS = flags.DEFINE_list("attacks", ["clean", "pgd"], "what to measure: clean, pgd")
flags.declare_key_flag("workdir")
flags.declare_key_flag("examples")


def main() -> None:
    """Evaluates what the flags say."""
    workdir = required_workdir()
    from clustr_tf.evaluation.run import run_evaluation

    run_evaluation(
        workdir,
        attacks=tuple(_ATTACKS.value),
        eps=_EPS.value,
        norm=_NORM.value,
        examples=EXAMPLES.value,
    )


def cli() -> None:
    """Entry point of `clustr-evaluate`."""
    run(main)


if __name__ == "__main__":
    cli()
