"""Callbacks that know the trainer."""

from typing import TYPE_CHECKING

import keras

if TYPE_CHECKING:
    from clustr_tf.train.trainer import Trainer


class TrainerCallback(keras.callbacks.Callback):
    """A Keras callback of our trainer, which sets `trainer` before the training begins.

    Attributes:
        trainer: who calls.

    Example:
        >>> class Tell(TrainerCallback):
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         print(self.trainer.state.history[-1])
    """

    trainer: "Trainer"
