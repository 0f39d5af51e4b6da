"""The commands of the pages that a newcomer follows do what the pages say."""

import json

import pytest

from tests import programs
from tests.docs import session
from tests.docs.pages import ROOT

DOCS = ROOT / "docs"


@pytest.mark.slow
def test_getting_started_leaves_a_model_its_figures_and_an_export(tmp_path):
    session.run(DOCS / "getting_started.md", tmp_path)
    for file in ("model.keras", "metrics.csv", "summary.json", "report.html", "certificates.json"):
        assert (tmp_path / "runs" / "digits" / file).exists()
    assert (tmp_path / "runs" / "plain" / "model.keras").exists()
    assert (tmp_path / "models" / "clustr" / "1" / "saved_model.pb").exists()


@pytest.mark.slow
def test_own_code_trains_and_is_evaluated_where_it_is_trusted(tmp_path):
    session.run(DOCS / "training.md", tmp_path)
    run = tmp_path / "runs" / "short"
    config = json.loads((run / "config.json").read_text())
    assert (config["method"]["name"], config["method"]["steps"]) == ("short_at", 3)
    assert config["plugins"] == ["my_methods"]
    assert (run / "robustness.json").exists()
    refused = programs.run("clustr_tf.evaluate", "--workdir=runs/short", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--trust_plugins" in refused.stderr
    averaged = json.loads((tmp_path / "runs" / "adamw" / "config.json").read_text())
    assert averaged["optimizer"]["use_ema"] is True


@pytest.mark.slow
def test_a_search_leaves_a_config_that_is_trained_and_evaluated(tmp_path):
    session.run(DOCS / "tuning.md", tmp_path)
    for file in ("search/trials.csv", "search/trials.html", "best/model.keras", "best/report.html"):
        assert (tmp_path / "runs" / file).exists()


def test_only_the_environment_and_the_parallel_search_are_left_out():
    pages = [DOCS / name for name in ("getting_started.md", "tuning.md")]
    lines = [line for page in pages for line in session.script(page)]
    ran = [line.split()[2] for line in lines if line.startswith("python -m")]
    left_out = [line.split()[1] for line in lines if line.startswith("#")]
    training = ["clustr_tf.train", "clustr_tf.train", "clustr_tf.evaluate", "clustr_tf.certify"]
    assert ran == [
        *(*training, "export.savedmodel"),
        *("clustr_tf.tune", "clustr_tf.train", "clustr_tf.evaluate"),
    ]
    names = [f"KERASTUNER_TUNER_ID={name}" for name in ("chief", "worker0", "worker1")]
    assert left_out == ["python3.11", "export", *names]
