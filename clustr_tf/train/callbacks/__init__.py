"""Callbacks of the trainer; any Keras callback stands beside them."""

from clustr_tf.train.callbacks.base import TrainerCallback
from clustr_tf.train.callbacks.progress import ProgressBars
from clustr_tf.train.callbacks.record import Checkpoint, KeepBest, RecordEpochs
from clustr_tf.train.callbacks.refresh import RefreshClusters
from clustr_tf.train.callbacks.watch import Watch, WatchRobustness

__all__ = [
    "Checkpoint",
    "KeepBest",
    "ProgressBars",
    "RecordEpochs",
    "RefreshClusters",
    "TrainerCallback",
    "Watch",
    "WatchRobustness",
]
