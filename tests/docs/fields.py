"""What may stand in a config, whatever methods, data and networks it names."""

import inspect

import keras

from clustr_tf.attacks import PGD
from clustr_tf.backbones import BACKBONES
from clustr_tf.cli.config import DatasetEntry, HeadEntry
from clustr_tf.configs import digits_search
from clustr_tf.data import DATASETS
from clustr_tf.evaluate.plan import EvaluationPlan
from clustr_tf.methods import METHODS
from clustr_tf.train.callbacks import Watch
from clustr_tf.train.settings import SCHEDULES, Clustering, Training

_SECTIONS = {
    "dataset": (DatasetEntry, *DATASETS.values()),
    "backbone": BACKBONES.values(),
    "clustering": (HeadEntry, Clustering),
    "method": METHODS.values(),
    "optimizer": (keras.optimizers.AdamW, keras.optimizers.SGD),
    "optimizer.schedule": SCHEDULES.values(),
    "training": (Training,),
    "watch": (Watch,),
    "watch.attack": (PGD,),
    "evaluation": (EvaluationPlan,),
    "evaluation.attack": (PGD,),
}
FIELDS = {
    *("backbone.name", "backbone.unit_ball", "method.name", "optimizer.schedule.name", "plugins"),
    *(f"search.{name}" for name in digits_search.get_config().search),
    *_SECTIONS,
    *(
        f"{section}.{name}"
        for section, targets in _SECTIONS.items()
        for target in targets
        for name in inspect.signature(target).parameters
    ),
}
