"""`python -m clustr_tf.tune`: searches for the settings that held-out images ask for."""

from pathlib import Path

from absl import flags

from clustr_tf.cli.flags import WORKDIR, config_values, quiet_start, run

_MAX_TRIALS = flags.DEFINE_integer(
    "max_trials", None, "at most so many trials; default: config.search.trials", lower_bound=1
)
flags.declare_key_flag("workdir")


def main() -> None:
    """Searches what the flags say."""
    # After the flags: a mistake or --help is answered without waiting for TensorFlow.
    with quiet_start():
        from clustr_tf.cli.search import read_search
        from clustr_tf.tune.search import run_search

    run_search(read_search(config_values(), _MAX_TRIALS.value), Path(WORKDIR.value))


def cli() -> None:
    """Entry point of `clustr-tune`."""
    flags.set_default(WORKDIR, "runs/search")
    run(main, default_config="digits_search")


if __name__ == "__main__":
    cli()
