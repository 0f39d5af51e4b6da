"""The exported model, in this process and in one that knows nothing but TensorFlow."""

import json
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import export.saving
from clustr_tf.certification import certify_batch, head_geometry
from export.saving import export_savedmodel

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
}
GREY = np.full((2, 8, 8, 1), 0.5, np.float32)
PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
PNG = tf.io.encode_png(PIXELS).numpy()
RADII = np.zeros(2, np.float32)
# signature, inputs, what the message says
REFUSALS = [
    ("serving_default", {"images": GREY[:, :7]}, "[2,7,8,1] is not compatible"),
    ("serving_default", {"images": GREY[0]}, "[8,8,1] is not compatible"),
    ("serving_default", {"images": GREY[:0]}, "images: the batch is empty; send at least one"),
    ("serving_default", {"images": GREY * np.nan}, "images: pixels must be finite"),
    ("serving_default", {"images": GREY * np.inf}, "images: pixels must be finite"),
    ("serving_default", {"images": GREY * 510}, "images: pixels must be in [0, 1]"),
    ("embed", {"images": GREY - 1}, "smallest and largest] [-0.5] [-0.5]"),
    ("embed", {"images": GREY[:0]}, "images: the batch is empty"),
    ("certify", {"images": GREY * 4, "radius_l2": RADII}, "smallest and largest] [2] [2]"),
    ("certify", {"images": GREY[:0], "radius_l2": RADII[:0]}, "images: the batch is empty"),
    ("certify", {"images": GREY, "radius_l2": RADII[:1]}, "one radius for each image"),
    ("certify", {"images": GREY, "radius_l2": RADII - 1}, "finite and at least 0"),
    ("certify", {"images": GREY, "radius_l2": RADII * np.nan}, "finite and at least 0"),
    ("serving_bytes", {"image_bytes": np.array([], object)}, "image_bytes: the batch is empty"),
    ("serving_bytes", {"image_bytes": np.array([PNG, b"GIF89a"], object)}, "neither a PNG nor"),
    ("serving_bytes", {"image_bytes": np.array([PNG[:-9]], object)}, "Invalid PNG data"),
    ("serving_bytes", {"image_bytes": np.array([bytes(2**20 + 1)], object)}, "at most 1048576"),
]

# What a stranger does with the export: load, call, look at the errors.
STRANGER = """
import pickle, sys
sys.modules["keras"] = None  # as if not installed: TensorFlow imports it where it can
import tensorflow as tf

folder, requests, answers = sys.argv[1:]
signatures = tf.saved_model.load(folder).signatures
results = []
with open(requests, "rb") as file:
    for name, inputs in pickle.load(file):
        tensors = {
            key: tf.constant(value, tf.string if value.dtype == object else tf.float32)
            for key, value in inputs.items()
        }
        try:
            outputs = signatures[name](**tensors)
            results.append({key: value.numpy() for key, value in outputs.items()})
        except tf.errors.InvalidArgumentError as error:
            results.append(str(error))
with open(answers, "wb") as file:
    pickle.dump(results, file)
print(*sorted({"clustr_tf", "export"} & set(sys.modules)))
"""


def call(signatures, name, inputs):
    tensors = {
        key: tf.constant(value, STRING if value.dtype == object else F32)
        for key, value in inputs.items()
    }
    return {key: value.numpy() for key, value in signatures[name](**tensors).items()}


@pytest.fixture(scope="module")
def expected(classifier, bound, images):
    """Certificates of the Keras model's embeddings."""
    return certify_batch(classifier, images, bound, head_geometry(classifier.head))[1]


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


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_answers_are_those_of_the_model(signatures, classifier, expected, images, batch):
    """Of the Keras model's embeddings: whole numbers equal, the rest up to float32 rounding."""
    radii = np.zeros(batch, np.float32)
    answer = {
        **call(signatures, "certify", {"images": images[:batch], "radius_l2": radii}),
        **call(signatures, "serving_default", {"images": images[:batch]}),
        **call(signatures, "embed", {"images": images[:batch]}),
    }
    for name in ("class_id", "nearest_cluster", "runner_up_class_id"):
        np.testing.assert_array_equal(answer[name], getattr(expected, name)[:batch])
    for name in (
        "certified_radius_l2",
        "certified_radius_linf",
        "embedding_margin",
        "squared_distances",
    ):
        wanted = np.asarray(getattr(expected, name)[:batch])
        np.testing.assert_allclose(
            answer[name], wanted, rtol=1e-5, atol=1e-6 * wanted.max(), err_msg=name
        )
    embeddings = np.asarray(classifier.embed(images[:batch]))
    np.testing.assert_allclose(answer["embeddings"], embeddings, rtol=1e-5, atol=1e-6)
    probabilities = keras.ops.softmax(classifier(images[:batch]))
    np.testing.assert_allclose(answer["probabilities"], probabilities, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(answer["is_certified"], answer["certified_radius_l2"] > 0)


def test_bytes_are_answered_like_pixels(signatures):
    jpeg = tf.io.encode_jpeg(PIXELS).numpy()
    encoded = np.array([PNG, jpeg], object)
    pixels = np.stack([PIXELS, tf.io.decode_jpeg(jpeg).numpy()]).astype(np.float32) / np.float32(
        255
    )
    wanted = call(signatures, "serving_default", {"images": pixels})
    answer = call(signatures, "serving_bytes", {"image_bytes": encoded})
    for name in PREDICTIONS:
        np.testing.assert_array_equal(answer[name], wanted[name])


@pytest.mark.parametrize(("name", "inputs", "message"), REFUSALS)
def test_refuses_in_words(signatures, name, inputs, message):
    with pytest.raises(tf.errors.InvalidArgumentError) as refused:
        call(signatures, name, inputs)
    assert message in str(refused.value)


def test_serves_without_our_code_and_without_keras(version, signatures, images, tmp_path):
    requests = [(name, inputs) for name, inputs, _ in REFUSALS]
    requests += [
        ("serving_default", {"images": images}),
        ("certify", {"images": images, "radius_l2": np.zeros(64, np.float32)}),
        ("embed", {"images": images}),
        ("serving_bytes", {"image_bytes": np.array([PNG], object)}),
    ]
    (tmp_path / "requests").write_bytes(pickle.dumps(requests))
    finished = subprocess.run(
        [sys.executable, "-c", STRANGER, str(version), "requests", "answers"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.split() == []
    answers = pickle.loads((tmp_path / "answers").read_bytes())
    for (_, _, message), answer in zip(REFUSALS, answers, strict=False):
        assert message in answer
    for (name, inputs), answer in zip(requests[-4:], answers[-4:], strict=True):
        wanted = call(signatures, name, inputs)
        assert answer.keys() == wanted.keys()
        for key, value in wanted.items():
            np.testing.assert_allclose(answer[key], value, rtol=1e-4, atol=1e-7, err_msg=key)


def test_variables_are_stored_once(version, classifier):
    reader = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    types = reader.get_variable_to_dtype_map()
    stored = sum(
        int(np.prod(shape)) * types[name].size
        for name, shape in reader.get_variable_to_shape_map().items()
        if types[name] != STRING
    )
    assert stored == sum(
        keras.ops.convert_to_numpy(variable).nbytes for variable in classifier.variables
    )


def test_no_operation_needs_python(version):
    saved = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
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

    monkeypatch.setattr(export.saving, "write_json", full)
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
