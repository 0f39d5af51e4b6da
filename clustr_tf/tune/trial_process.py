"""One trial in a process of its own: trains the experiment of a workdir, and nothing else.

A process gives back all its memory, keeps what one trial sets in TensorFlow from the next, and may
crash. Test images are left alone: what a trial is worth is measured on held-out ones.
"""

import dataclasses
import os
import signal
import sys
import threading

from absl import flags

from clustr_tf.cli.flags import TRUST_PLUGINS, quiet_start, required_workdir, run

flags.declare_key_flag("workdir")
flags.declare_key_flag("trust_plugins")


def main() -> None:
    """Trains, or goes on from the newest checkpoint."""
    threading.Thread(target=_leave_with_the_search, daemon=True).start()
    with quiet_start():
        from rich.console import Console

        from clustr_tf.cli.config import experiment_of
        from clustr_tf.run.workdir import Workdir
        from clustr_tf.train.callbacks.progress import ProgressBars
        from clustr_tf.train.run import train

    workdir = Workdir(required_workdir())
    experiment = experiment_of(workdir, TRUST_PLUGINS.value)
    config = experiment.values
    # A search that was killed may have left a process behind that is still saving its state.
    with workdir.claimed(config, wait=True):
        dataset = experiment.dataset.load()
        untested = dataclasses.replace(
            dataset, test_images=dataset.test_images[:0], test_labels=dataset.test_labels[:0]
        )
        plan = experiment.plan(untested)
        train(plan, untested, workdir, config, callbacks=[ProgressBars(Console())])


def _leave_with_the_search() -> None:
    """Standard input ends when the search ends, however it ends; training then saves and leaves."""
    # Not through sys.stdin: Python aborts if it ends while a thread is reading that.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    run(main)
