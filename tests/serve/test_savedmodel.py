"""The exported model, loaded by TensorFlow; test_c_api.py loads it without."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import clustr_tf.serve.saving
from clustr_tf.classifier import Classifier
from clustr_tf.run.files import write_json
from clustr_tf.run.workdir import Workdir
from clustr_tf.serve.options import ServingOptions
from clustr_tf.serve.saving import export_savedmodel
from tests import programs

F32, I64, BOOL, STRING = tf.float32, tf.int64, tf.bool, tf.string
IMAGES = {"images": ((None, 8, 8, 1), F32)}
PREDICTIONS = {
    "class_id": ((None,), I64),
    "probabilities": ((None, 3), F32),
    "certified_radius_l2": ((None,), F32),
    "certified_radius_linf": ((None,), F32),
}
# name -> inputs, outputs; the embedding of an 8x8 image by a small_cnn of width 4 has 64 numbers.
CONTRACT = {
    "serving_default": (IMAGES, PREDICTIONS),
    "certify": (
        {**IMAGES, "radius_l2": ((None,), F32)},
        {
            "class_id": ((None,), I64),
            "certified_radius_l2": ((None,), F32),
            "certified_radius_linf": ((None,), F32),
            "embedding_margin": ((None,), F32),
            "nearest_cluster": ((None,), I64),
            "runner_up_class_id": ((None,), I64),
            "is_certified": ((None,), BOOL),
        },
    ),
    "embed": (
        IMAGES,
        {
            "embeddings": ((None, 64), F32),
            "nearest_cluster": ((None,), I64),
            "squared_distances": ((None, 6), F32),
        },
    ),
    "serving_bytes": ({"image_bytes": ((None,), STRING)}, PREDICTIONS),
    "certify_linf": (
        {"images": ((None, 8, 8, 1), F32), "radius_linf": ((None,), F32)},
        {
            "class_id": ((None,), I64),
            "certified_radius_linf": ((None,), F32),
            "is_certified": ((None,), tf.bool),
        },
    ),
}


def test_names_shapes_and_types_are_the_contract(signatures):
    def described(specs):
        return {name: (tuple(spec.shape), spec.dtype) for name, spec in specs.items()}

    found = {
        name: (
            described(function.structured_input_signature[1]),
            described(function.structured_outputs),
        )
        for name, function in signatures.items()
    }
    assert found == CONTRACT


@pytest.fixture(scope="module", params=["refuse", "flag"])
def either_version(request, version, classifier, bound, tmp_path_factory):
    """A version of each choice for bad input."""
    if request.param == "refuse":
        return version
    output = tmp_path_factory.mktemp("flagging") / "clustr"
    return export_savedmodel(classifier, output, bound, ServingOptions(on_invalid="flag"))


def test_variables_are_stored_once(either_version, classifier):
    reader = tf.train.load_checkpoint(str(either_version / "variables" / "variables"))
    types = reader.get_variable_to_dtype_map()
    stored = sum(
        int(np.prod(shape)) * types[name].size
        for name, shape in reader.get_variable_to_shape_map().items()
        if types[name] != STRING
    )
    assert stored == sum(
        keras.ops.convert_to_numpy(variable).nbytes for variable in classifier.variables
    )


def test_no_operation_needs_python(either_version):
    saved = saved_model_pb2.SavedModel.FromString((either_version / "saved_model.pb").read_bytes())
    (meta,) = saved.meta_graphs
    operations = {node.op for node in meta.graph_def.node} | {
        node.op for function in meta.graph_def.library.function for node in function.node_def
    }
    assert {"Conv2D", "Assert", "DecodePng"} <= operations
    assert not any("PyFunc" in name or "NumpyFunction" in name for name in operations)


def test_the_certificate_lies_beside(version, bound):
    text = (version / "assets.extra" / "certificate.json").read_text()
    certificate = json.loads(text)
    assert certificate["lipschitz_bound"] == bound.gain
    assert certificate["rounding_growth"] == bound.growth
    assert certificate["rounding_slack"] == list(bound.slack)
    assert certificate["num_pixels"] == 64
    assert certificate["versions"]["tensorflow"] == tf.__version__


def test_a_failed_export_leaves_nothing(classifier, bound, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(clustr_tf.serve.saving, "write_json", full)
    with pytest.raises(OSError, match="disk full"):
        export_savedmodel(classifier, tmp_path / "clustr", bound)
    assert list(tmp_path.iterdir()) == []


def test_exports_are_numbered(classifier, bound, version, tmp_path):
    assert version.name == "1"
    (tmp_path / "4").mkdir()
    assert export_savedmodel(classifier, tmp_path, bound) == tmp_path / "5"
    assert (tmp_path / "5" / "saved_model.pb").is_file()


def test_refuses_a_file(classifier, bound, tmp_path):
    (tmp_path / "model").touch()
    with pytest.raises(ValueError, match="output must be a folder"):
        export_savedmodel(classifier, tmp_path / "model", bound)


def test_a_limit_that_no_png_keeps_is_refused(classifier, bound, tmp_path):
    """Signature, header, one chunk of data and the end take at least 8 + 25 + 12 + 12 bytes."""
    with pytest.raises(ValueError, match=r"max_image_bytes must be at least \d+, .*Received: 56"):
        export_savedmodel(
            classifier, tmp_path / "clustr", bound, ServingOptions(max_image_bytes=56)
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["savedmodel", "conformance"])
def test_a_baseline_without_clusters_is_refused_in_one_line(classifier, tmp_path, command):
    head = keras.layers.Dense(3)
    Workdir(tmp_path).save_classifier(Classifier(classifier.backbone, head, [0.5], [0.25]))
    output = [f"--output={tmp_path / 'models'}"] if command == "savedmodel" else []
    finished = programs.run(f"export.{command}", f"--workdir={tmp_path}", *output)
    assert finished.returncode == 2
    assert finished.stderr.splitlines() == [
        "error: classifier must have a ClusteringHead: other heads have no certificates. "
        "Received: Dense"
    ]
    assert not (tmp_path / "models").exists()


def test_an_export_needs_the_model_and_not_its_data(classifier, tmp_path):
    """The card tells the name of a data set that nobody has."""
    workdir = Workdir(tmp_path / "run")
    workdir.save_classifier(classifier)
    backbone = {"name": "their_network", "depth": 28, "mean": None}
    sections = {"training": {"epochs": 7, "seed": 3}, "method": {"name": "their_method"}}
    config = {"dataset": {"name": "secret", "data_dir": "/gone"}, "backbone": backbone, **sections}
    write_json(workdir.config, config)
    write_json(workdir.summary, {"test/accuracy": 0.75, "examples": 12, "git_revision": None})
    flags = (f"--workdir={workdir.root}", f"--output={tmp_path / 'models' / 'theirs'}")
    finished = programs.run("export.savedmodel", *flags)
    assert finished.returncode == 0, finished.stderr
    card = (tmp_path / "models" / "theirs" / "1" / "MODEL_CARD.md").read_text()
    for line in (
        "# Model card: theirs",
        "| training data | secret, data_dir /gone |",
        "| method | their_method, 7 epochs, seed 3 |",
        "| network | their_network, depth 28 |",
        "Clean accuracy 75.00 % on 12 test images.",
    ):
        assert line in card
    write_json(workdir.config, {**config, "method": {}})
    finished = programs.run("export.savedmodel", *flags)
    assert finished.returncode == 2
    assert finished.stderr.startswith(f"error: {workdir.root} cannot be told in MODEL_CARD.md (")


def test_a_folder_that_cannot_be_written_is_told_in_one_line(classifier, tmp_path):
    """Nobody writes into /proc."""
    Workdir(tmp_path).save_classifier(classifier)
    flags = (f"--workdir={tmp_path}", "--output=/proc/models/clustr", "--nomodel_card")
    finished = programs.run("export.savedmodel", *flags)
    assert finished.returncode == 2
    assert "error: --output cannot be written: " in finished.stderr
    assert "Traceback" not in finished.stderr
