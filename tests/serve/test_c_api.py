"""The exported model through TensorFlow's C API, where there is neither Keras nor our code."""

import struct
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.certify.l2.soft_score import soft_score_radius
from clustr_tf.certify.radii import certify_batch, head_geometry
from clustr_tf.data.image_decoding import JPEG_METHOD
from clustr_tf.serve.options import ServingOptions
from clustr_tf.serve.saving import export_savedmodel
from tests.serve.c_api_client import CApiProcess, RefusedError

INVALID_ARGUMENT, NOT_FOUND = 3, 5
GREY = np.full((2, 8, 8, 1), 0.5, np.float32)
PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
PNG = tf.io.encode_png(PIXELS).numpy()
WIDE = np.zeros((8, 9, 1), np.uint8)
COLOURED = np.zeros((8, 8, 3), np.uint8)
RADII = np.zeros(2, np.float32)


def claiming(width, height):
    """A PNG whose header, with a valid checksum, claims another size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]


def refused_bytes(encoded, message):
    return "serving_bytes", {"image_bytes": np.array([PNG, encoded], object)}, message


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
    ("certify", {"images": GREY, "radius_l2": RADII + np.inf}, "finite and at least 0"),
    ("certify", {"images": GREY, "radius_l2": RADII[:, None]}, "[2,1] is not compatible"),
    ("certify_linf", {"images": GREY, "radius_linf": RADII[:1]}, "radius_linf: one radius for"),
    ("certify_linf", {"images": GREY, "radius_linf": RADII - 1}, "radius_linf: radii must be"),
    ("serving_bytes", {"image_bytes": np.array([], object)}, "image_bytes: the batch is empty"),
    ("serving_bytes", {"image_bytes": np.array([PNG, b"GIF89a"], object)}, "neither a PNG nor"),
    ("serving_bytes", {"image_bytes": np.array([PNG[:-9]], object)}, "Invalid PNG data"),
    ("serving_bytes", {"image_bytes": np.array([bytes(2**20 + 1)], object)}, "at most 1048576"),
    refused_bytes(b"", "[image_bytes[1]:] [is neither a PNG nor"),
    refused_bytes(PNG[:20], "header is cut off"),
    refused_bytes(PNG[:12] + b"IDAT" + PNG[16:], "header is broken"),
    refused_bytes(tf.io.encode_png(WIDE).numpy(), "must be 8 pixels wide and 8 high"),
    refused_bytes(claiming(60_000, 60_000), "received width and height] [60000 60000]"),
    refused_bytes(tf.io.encode_png(np.uint16(PIXELS)).numpy(), "must be 8-bit grey"),
    refused_bytes(tf.io.encode_png(COLOURED).numpy(), "colour type] [8 2]"),
    refused_bytes(tf.io.encode_jpeg(WIDE).numpy(), "received width and height] [9 8]"),
    refused_bytes(tf.io.encode_jpeg(COLOURED).numpy(), "must be grey, with 1 channel"),
    refused_bytes(tf.io.encode_jpeg(PIXELS).numpy()[:-40], "Invalid JPEG"),
]
# Of a model that resizes: 2048 x 2048 is the most.
REFUSALS_OF_RESIZING = [
    refused_bytes(claiming(2049, 2048), "must have 1 to 4194304 pixels"),
    refused_bytes(claiming(2**31 - 1, 2**31 - 1), "must have 1 to 4194304 pixels"),
    refused_bytes(claiming(0, 8), "must have 1 to 4194304 pixels"),
    refused_bytes(tf.io.encode_png(COLOURED).numpy(), "must be 8-bit grey"),
    refused_bytes(tf.io.encode_jpeg(COLOURED).numpy(), "must be grey, with 1 channel"),
    refused_bytes(b"GIF89a", "neither a PNG nor"),
    refused_bytes(PNG[:-9], "Invalid PNG data"),
]


@pytest.fixture(scope="module")
def server(version):
    with CApiProcess(version) as process:
        yield process


@pytest.fixture(scope="module")
def flagging_server(classifier, bound, tmp_path_factory):
    options = ServingOptions(on_invalid="flag")
    output = tmp_path_factory.mktemp("flagging") / "clustr"
    with CApiProcess(export_savedmodel(classifier, output, bound, options)) as process:
        yield process


@pytest.fixture(scope="module")
def resizing_server(classifier, bound, tmp_path_factory):
    options = ServingOptions(resize="bilinear")
    output = tmp_path_factory.mktemp("resizing") / "clustr"
    with CApiProcess(export_savedmodel(classifier, output, bound, options)) as process:
        yield process


@pytest.fixture(scope="module")
def expected(classifier, bound, images):
    """Certificates of the Keras model's embeddings."""
    return certify_batch(classifier, images, bound, head_geometry(classifier.head))[1]


def test_needs_neither_python_s_tensorflow_nor_our_code(version):
    with CApiProcess(version) as process:
        assert process.signatures == [
            "certify",
            "certify_linf",
            "embed",
            "serving_bytes",
            "serving_default",
        ]
    assert process.unwanted == []


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_answers_are_those_of_the_model(server, classifier, expected, images, batch):
    """Of the Keras model's embeddings: whole numbers equal, the rest up to float32 rounding."""
    radii = np.zeros(batch, np.float32)
    answer = {
        **server.ask("certify_linf", {"images": images[:batch], "radius_linf": radii}),
        **server.ask("certify", {"images": images[:batch], "radius_l2": radii}),
        **server.ask("serving_default", {"images": images[:batch]}),
        **server.ask("embed", {"images": images[:batch]}),
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


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_bytes_are_answered_like_pixels(server, batch):
    rows = np.random.default_rng(3).integers(0, 256, (batch, 8, 8, 1), np.uint8)
    encoded = [tf.io.encode_jpeg(row).numpy() for row in rows[: batch // 2]]
    encoded += [tf.io.encode_png(row).numpy() for row in rows[batch // 2 :]]
    decoded = np.stack(
        [tf.io.decode_jpeg(data, dct_method=JPEG_METHOD).numpy() for data in encoded]
    )
    pixels = decoded.astype(np.float32) / np.float32(255)
    wanted = server.ask("serving_default", {"images": pixels})
    answer = server.ask("serving_bytes", {"image_bytes": np.array(encoded, object)})
    assert answer.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_array_equal(answer[name], values, err_msg=name)


def test_a_served_radius_is_never_above_the_proved_one(server, classifier, bound, images):
    """That of the same network in float64, where roundings are nine digits smaller."""
    double = keras.models.clone_model(
        classifier.embedder,
        clone_function=lambda layer: type(layer).from_config(
            {**layer.get_config(), "dtype": "float64"}
        ),
    )
    double.set_weights(classifier.embedder.get_weights())
    head = classifier.head
    centroids = keras.ops.convert_to_numpy(head.centroids).astype(np.float64)
    variance = float(head.variance)
    _, radii = soft_score_radius(
        double(images.astype(np.float64)), centroids, variance, 2, lipschitz=bound.gain
    )
    served = server.ask("serving_default", {"images": images})["certified_radius_l2"]
    assert np.all(served.astype(np.float64) <= radii)
    assert np.median(served / radii) > 0.9


@pytest.mark.parametrize(("signature", "inputs", "message"), REFUSALS)
def test_refuses_in_words(server, signature, inputs, message):
    with pytest.raises(RefusedError) as refused:
        server.ask(signature, inputs)
    assert refused.value.code == INVALID_ARGUMENT
    assert message in refused.value.message


@pytest.mark.parametrize(("signature", "inputs", "message"), REFUSALS_OF_RESIZING)
def test_a_model_that_resizes_refuses_in_words(resizing_server, signature, inputs, message):
    test_refuses_in_words(resizing_server, signature, inputs, message)


def test_a_model_that_resizes_answers_other_sizes(server, resizing_server):
    """Constant images stay what they are, whatever their size and kind of file."""
    files = [
        tf.io.encode_png(np.full((3, 40, 1), 51, np.uint8)).numpy(),
        tf.io.encode_jpeg(np.full((64, 8, 1), 51, np.uint8)).numpy(),
    ]
    answer = resizing_server.ask("serving_bytes", {"image_bytes": np.array(files, object)})
    wanted = server.ask("serving_default", {"images": np.full_like(GREY, 51 / 255)})
    for name, values in wanted.items():
        np.testing.assert_allclose(answer[name], values, rtol=1e-4, atol=1e-7, err_msg=name)


def test_refuses_other_types_and_signatures(server):
    with pytest.raises(RefusedError) as refused:
        server.ask("serving_default", {"images": GREY.astype(np.float64)})
    assert refused.value.code == INVALID_ARGUMENT
    assert "float but double" in refused.value.message
    with pytest.raises(RefusedError) as refused:
        server.ask("predict", {"images": GREY})
    assert refused.value.code == NOT_FOUND


def bad_rows(images):
    """Six images; NaN, infinity, just above 1 and below 0 in the four in the middle."""
    rows = images[:6].copy()
    for row, value in enumerate([np.nan, np.inf, np.nextafter(np.float32(1), 2), -1e-6], 1):
        rows[row, 3, 4, 0] = value
    return rows


GOOD = np.array([True, False, False, False, False, True])


def assert_flagged(answer, wanted, good):
    for name, values in answer.items():
        nothing = -1 if name in ("class_id", "nearest_cluster", "runner_up_class_id") else 0
        np.testing.assert_array_equal(values[good], wanted[name][good], err_msg=name)
        np.testing.assert_array_equal(values[~good], np.full_like(values[~good], nothing), name)


@pytest.mark.parametrize("signature", ["serving_default", "embed"])
def test_flags_bad_rows_and_answers_their_neighbours(server, flagging_server, images, signature):
    answer = flagging_server.ask(signature, {"images": bad_rows(images)})
    assert_flagged(answer, server.ask(signature, {"images": images[:6]}), GOOD)


def test_flags_bad_radii_too(server, flagging_server, images):
    asked = np.array([0, 0, 0, 0, 0, np.nan], np.float32)
    inputs = {"images": bad_rows(images), "radius_l2": asked}
    wanted = server.ask("certify", {"images": images[:6], "radius_l2": np.zeros(6, np.float32)})
    assert_flagged(flagging_server.ask("certify", inputs), wanted, GOOD & ~np.isnan(asked))


def test_flags_bad_bytes(server, flagging_server):
    rows = np.array([PNG, PNG[:-9], b"GIF89a", bytes(2**20 + 1), b"", PNG], object)
    answer = flagging_server.ask("serving_bytes", {"image_bytes": rows})
    wanted = server.ask("serving_bytes", {"image_bytes": np.array([PNG] * 6, object)})
    assert_flagged(answer, wanted, GOOD)


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [case for case in REFUSALS if "compatible" in case[2] or "empty" in case[2]],
)
def test_what_is_no_batch_is_refused_also_where_rows_are_flagged(
    flagging_server, signature, inputs, message
):
    with pytest.raises(RefusedError) as refused:
        flagging_server.ask(signature, inputs)
    assert message in refused.value.message


@pytest.mark.parametrize("on_invalid", ["refuse", "flag"])
def test_large_images_are_resized_one_at_a_time_as_8_bit_numbers(
    classifier, bound, tmp_path, on_invalid
):
    """Sixteen white images of 2048 x 2048 take 4 MiB each as 8-bit numbers.

    All at once they would take 64 MiB, and one as float64 with a float32 copy 48 MiB.
    """
    white = tf.io.encode_png(np.full((2048, 2048, 1), 255, np.uint8)).numpy()
    options = ServingOptions(on_invalid=on_invalid, resize="bilinear")
    with CApiProcess(export_savedmodel(classifier, tmp_path / "clustr", bound, options)) as process:
        wanted = process.ask("serving_default", {"images": np.ones((1, 8, 8, 1), np.float32)})
        process.ask("serving_bytes", {"image_bytes": np.array([PNG] * 16, object)})
        process.peak_memory()
        before = process.peak_memory()
        answer = process.ask("serving_bytes", {"image_bytes": np.array([white] * 16, object)})
        grown = process.peak_memory() - before
    assert grown < 40 * 2**20
    np.testing.assert_array_equal(answer["class_id"], np.repeat(wanted["class_id"], 16))
