"""`python -m clustr_tf.train`: trains, evaluates briefly, leaves a complete workdir."""

import time
from pathlib import Path

from absl import flags

from clustr_tf.commands import WORKDIR, config_values, quiet_start, run

_DEFAULT_CONFIG = Path(__file__).parents[1] / "configs" / "digits.py"
flags.declare_key_flag("workdir")


def main() -> None:
    """Trains what the flags say."""
    begin = time.perf_counter()
    config = config_values()
    # After the flags: a mistake or --help is answered without waiting for TensorFlow.
    with quiet_start():
        from clustr_tf.training.run import run_training

    run_training(config, Path(WORKDIR.value), begin)


def cli() -> None:
    """Entry point of `clustr-train`."""
    flags.set_default(WORKDIR, "runs/digits")
    run(main, _DEFAULT_CONFIG)


if __name__ == "__main__":
    cli()
