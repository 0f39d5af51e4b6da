"""`python -m clustr_tf.tune`: searches for the settings that held-out images ask for."""

from pathlib import Path

from absl import flags

from clustr_tf.commands import WORKDIR, config_values, quiet_start, run

_DEFAULT_CONFIG = Path(__file__).parents[1] / "configs" / "digits_search.py"
_MAX_TRIALS = flags.DEFINE_integer(
    "max_trials", None, "at most so many trials; default: config.search.trials", lower_bound=1
)
flags.declare_key_flag("workdir")


def main() -> None:
    """Searches what the flags say."""
    config = config_values()
    with quiet_start():
        from clustr_tf.tuning.search import run_search

    run_search(config, Path(WORKDIR.value), _MAX_TRIALS.value)


def cli() -> None:
    """Entry point of `clustr-tune`."""
    flags.set_default(WORKDIR, "runs/search")
    run(main, _DEFAULT_CONFIG)


if __name__ == "__main__":
    cli()
