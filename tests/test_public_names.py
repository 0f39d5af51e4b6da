"""`import clustr_tf` is light, tells its public names, and makes them known to Keras."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import keras
import pytest

import clustr_tf
from clustr_tf.cli.config import read_experiment
from clustr_tf.configs import digits
from clustr_tf.layers import ClusteringHead
from clustr_tf.methods import METHODS, ClustrAT
from clustr_tf.serve.options import INPUTS, OUTPUTS
from clustr_tf.train.callbacks.record import COLUMNS
from clustr_tf.train.settings import Clustering

ROOT = Path(__file__).parents[1]
SIGNATURES = "Signatures of the SavedModel"

NAMES = [
    "Classifier",
    "attacks",
    "backbones",
    "certified_radii",
    "certify",
    "data",
    "evaluate",
    "evaluate_robustness",
    "layers",
    "load_model",
    "losses",
    "methods",
    "serve",
    "train",
    "tune",
]


PAGE = (ROOT / "docs" / "public_names.md").read_text(encoding="utf-8")


def _rows(heading):
    """The cells of the table under a heading of the page, without its own heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def python(code):
    """What a new process prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_names_are_told():
    assert sorted(dir(clustr_tf)) == NAMES
    (told,) = [names for module, names in _rows("Python") if module == "clustr_tf"]
    assert sorted(told.split()) == NAMES


@pytest.mark.parametrize(("module", "names"), _rows("Python"))
def test_every_public_name_is_importable(module, names):
    imported = importlib.import_module(module)
    assert [name for name in names.split() if not hasattr(imported, name)] == []
    told = set(dir(imported)) if hasattr(imported, "__getattr__") else set(imported.__all__)
    assert set(names.split()) <= told


def test_all_methods_are_on_the_page():
    (told,) = [names for module, names in _rows("Python") if module == "clustr_tf.methods"]
    assert {kind.__name__ for kind in METHODS.values()} < set(told.split())


SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


@pytest.mark.parametrize(("module", "script", "named"), _rows("Commands"))
def test_commands_have_the_flags_of_the_page(module, script, named):
    """`--config` is defined when a command starts; tests/cli and tests/docs use it."""
    target = SCRIPTS[script].split(":")[0]
    assert target.split(".")[-1] in ("__main__", module.split(".")[-1])
    code = (
        f"import {target} as command; from absl import flags; "
        "found = flags.FLAGS.get_key_flags_for_module(command.main.__module__); "
        "print(*sorted(f'--{flag.name}' for flag in found))"
    )
    assert python(code).split() == named.split("`")[0].split()
    assert ("`--config" in named) == (module in ("clustr_tf.train", "clustr_tf.tune"))


def test_every_console_command_is_on_the_page():
    assert sorted(script for _, script, _ in _rows("Commands")) == sorted(SCRIPTS)


def test_signatures_are_those_of_the_page():
    told = {name: (inputs.split(), outputs.split()) for name, inputs, outputs in _rows(SIGNATURES)}
    assert told == {name: (list(INPUTS[name]), list(OUTPUTS[name])) for name in INPUTS}


def test_sections_and_columns_are_those_of_the_page():
    values = read_experiment(digits.get_config().to_dict()).values
    told = PAGE.split("## Sections of a config\n")[1].split(".")[0]
    assert re.findall(r"`(\w+)`", told) == list(values)
    columns = re.findall(r"`([\w/]+)`", PAGE.split("begins with the columns\n")[1].split("\n")[0])
    assert columns == list(COLUMNS)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name):
    assert getattr(clustr_tf, name).__name__.removeprefix("clustr_tf.") == name


def test_telling_the_names_imports_neither_tensorflow_nor_keras():
    code = "import sys, clustr_tf; dir(clustr_tf); print(*sys.modules)"
    imported = set(python(code).split())
    assert "clustr_tf" in imported
    assert not {"tensorflow", "keras"} & imported


@pytest.mark.parametrize("order", ["clustr_tf, keras", "keras, clustr_tf"])
def test_keras_knows_the_classes_whichever_is_imported_first(order):
    code = f"import {order}; print(*keras.saving.get_custom_objects())"
    names = set(python(code).split())
    assert {"clustr_tf>Classifier", "clustr_tf>ClusteringHead", "clustr_tf>MagnetLoss"} <= names


def test_a_compiled_model_is_loaded_by_a_program_that_imports_nothing_else(tmp_path):
    inputs = keras.Input((2, 2, 1))
    backbone = keras.Model(inputs, keras.layers.Flatten()(inputs))
    classifier = clustr_tf.Classifier(backbone, ClusteringHead(2, 1), mean=[0.5], std=[0.25])
    method, clustering = ClustrAT(eps=0.25, steps=3), Clustering(temperature=7.0)
    classifier.compile("adam", method, clustering=clustering)
    classifier.save(tmp_path / "model.keras")
    code = f"import clustr_tf; model = clustr_tf.load_model({str(tmp_path)!r}); "
    assert (
        python(code + "print(model.method, model.clustering)").strip() == f"{method} {clustering}"
    )
