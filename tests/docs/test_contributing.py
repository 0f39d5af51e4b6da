"""What CONTRIBUTING.md adds can be trained with; its attack is in tests/evaluate/test_suite.py."""

import time
from unittest import mock

import numpy as np
import pytest

from clustr_tf.backbones import BACKBONES
from clustr_tf.cli.config import read_experiment
from clustr_tf.configs.digits import get_config
from clustr_tf.data import DATASETS, to_pixels
from clustr_tf.evaluate.suite import ATTACKS
from clustr_tf.methods import METHODS
from clustr_tf.run.workdir import Workdir
from clustr_tf.train.__main__ import run_training
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "CONTRIBUTING.md"


@pytest.fixture
def examples():
    """The page's code has run; the registries are as before when the test is over."""
    namespace = {}
    with (
        mock.patch.dict(METHODS),
        mock.patch.dict(ATTACKS),
        mock.patch.dict(BACKBONES),
        mock.patch.dict(DATASETS),
    ):
        for block in blocks(PAGE):
            if block.language == "python":
                exec(compile("\n" * block.line + block.text, PAGE, "exec"), namespace)
        yield


@pytest.mark.usefixtures("examples")
def test_new_method_backbone_and_data_set_train_together(tmp_path):
    config = get_config("plain")
    config.method = {"name": "smoothed", "share": 0.2}
    config.backbone = {"name": "two_layers", "width": 16}
    config.dataset = {"name": "stripes"}
    config.training.batch_size, config.training.epochs = 20, 4
    config.evaluation.examples = 100
    experiment = read_experiment(config.to_dict())
    assert experiment.values["method"] == {"name": "smoothed", "share": 0.2}
    run_training(experiment, tmp_path / "run", time.perf_counter())
    dataset = DATASETS["stripes"]()
    scores = Workdir(tmp_path / "run").load_classifier()(to_pixels(dataset.test_images))
    # The stripe outshines the noise, so that chance is left far behind.
    assert np.mean(np.argmax(scores, axis=1) == dataset.test_labels) > 0.9
