"""What CONTRIBUTING.md adds can be trained and attacked with."""

import json
from unittest import mock

import numpy as np
import pytest

from clustr_tf.backbones import BACKBONES
from clustr_tf.datasets import DATASETS
from clustr_tf.evaluation.request import Request
from clustr_tf.evaluation.run import run_evaluation
from clustr_tf.evaluation.suite import ATTACKS
from clustr_tf.objectives import OBJECTIVES
from clustr_tf.training.run import run_training
from clustr_tf.workdir import Workdir
from configs.digits import get_config
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "CONTRIBUTING.md"


@pytest.fixture
def examples():
    """What the page's code defines; the registries are as before when the test is over."""
    namespace = {}
    with (
        mock.patch.dict(OBJECTIVES),
        mock.patch.dict(ATTACKS),
        mock.patch.dict(BACKBONES),
        mock.patch.dict(DATASETS),
    ):
        for block in blocks(PAGE):
            if block.language == "python":
                exec(compile("\n" * block.line + block.text, PAGE, "exec"), namespace)
        yield namespace


def test_new_objective_backbone_and_data_set_train_together(examples, tmp_path):
    config = get_config("plain")
    config.objective.name, config.backbone.name, config.dataset.name = (
        "smoothed",
        "two_layers",
        "stripes",
    )
    config.backbone.width, config.dataset.validation_examples = 16, 0
    config.training.batch_size, config.training.epochs = 20, 4
    config.evaluation.examples = 100
    run_training(config.to_dict(), tmp_path / "run", 0.0)
    dataset = DATASETS["stripes"]()
    scores = Workdir(tmp_path / "run").load_classifier()(dataset.test_images / np.float32(255))
    # The stripe outshines the noise, so that chance is left far behind.
    assert np.mean(np.argmax(scores, axis=1) == dataset.test_labels) > 0.9
    run_evaluation(tmp_path / "run", Request(attacks=("clean", "corners"), examples=50))
    found = json.loads((tmp_path / "run" / "robustness.json").read_text())
    assert list(found["attacks"]) == ["clean", "corners"]
    assert 0 <= found["attacks"]["corners"]["accuracy"] <= found["attacks"]["clean"]["accuracy"]
    assert found["attacks"]["corners"]["restarts"] == 3


def test_new_attack_breaks_what_noise_cannot_miss(examples):
    pixels, classes = np.full((50, 1, 1, 1), 0.55), np.zeros(50, np.int64)
    result = examples["evaluator"](pixels, classes, eps=0.1, seed=1)
    # Each of three draws goes down by 0.1 with probability 1/2: about 7 in 8 are broken.
    assert 0 < np.mean(result.robust) < 0.35
