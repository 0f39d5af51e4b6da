"""Runs of tests."""

import dataclasses

from clustr_tf.train.callbacks.base import TrainerCallback
from clustr_tf.train.run import train


def run(experiment, dataset, workdir, *callbacks, replicas=None):
    """Trains in a workdir as the command does."""
    plan = experiment.plan(dataset)
    return train(plan, dataset, workdir, experiment.values, replicas, callbacks)


def changed(experiment, section, **values):
    """An experiment with other values in one part."""
    part = dataclasses.replace(getattr(experiment, section), **values)
    return dataclasses.replace(experiment, **{section: part})


class Counting(TrainerCallback):
    """Counts steps and collects the rows of epochs."""

    def __init__(self):
        super().__init__()
        self.steps, self.rows = 0, []

    def on_epoch_begin(self, epoch, logs=None):
        self.expected = self.params["steps"]

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({"epoch": epoch + 1, **logs})
