"""2,000 malformed requests through TensorFlow's C API: a right answer or words, and no crash."""

import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.certification import certify_batch, head_geometry
from tests.export.c_api_client import CApiProcess, RefusedError

INVALID_ARGUMENT, NOT_FOUND = 3, 5
REQUESTS = 2000
EXTREMES = np.array(
    [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, -0.0, 1.0000001, -1e-7, 255, 0.5, 1], np.float32
)


def damaged(rng, encoded):
    """Cut, or with some bytes changed, or with others put in front."""
    kind = rng.integers(3)
    if kind == 0:
        return encoded[: rng.integers(len(encoded))]
    if kind == 1:
        changed = np.frombuffer(encoded, np.uint8).copy()
        changed[rng.integers(len(changed), size=rng.integers(1, 6))] ^= np.uint8(
            rng.integers(1, 256)
        )
        return changed.tobytes()
    return rng.bytes(int(rng.integers(1, 9))) + encoded


def request_of_bytes(rng):
    pixels = rng.integers(0, 256, (8, 8, 1), np.uint8)
    encoded = [
        tf.io.encode_png(pixels).numpy(),
        tf.io.encode_jpeg(pixels).numpy(),
        rng.bytes(int(rng.integers(1, 200))),
    ][rng.integers(3)]
    return "serving_bytes", {"image_bytes": np.array([damaged(rng, encoded)], object)}


def request_of_shapes(rng):
    shape = rng.integers(0, 10, size=rng.integers(0, 7))
    images = rng.uniform(size=shape).astype(np.float32)
    return "serving_default", {"images": np.asarray(images, np.float32)}


def request_of_extremes(rng):
    images = rng.uniform(size=(2, 8, 8, 1)).astype(np.float32)
    images[rng.integers(2), rng.integers(8), rng.integers(8), 0] = rng.choice(EXTREMES)
    radii = rng.choice(EXTREMES, size=rng.integers(1, 4)).astype(np.float32)
    if rng.integers(2):
        return "certify", {"images": images, "radius_l2": radii}
    return str(rng.choice(["serving_default", "embed"])), {"images": images}


def request_of_strangers(rng):
    """Other types, names and signatures."""
    types = [np.float64, np.int32, np.uint8, np.float16, np.bool_]
    images = rng.uniform(size=(1, 8, 8, 1)).astype(types[rng.integers(len(types))])
    signature = str(rng.choice(["serving_default", "predict", "", "serving_bytes"]))
    return signature, {str(rng.choice(["images", "image", "image_bytes"])): images}


KINDS = [request_of_bytes, request_of_shapes, request_of_extremes, request_of_strangers]


@pytest.mark.slow
def test_no_request_is_answered_wrongly_or_ends_the_process(version, classifier, bound, images):
    rng = np.random.default_rng(11)
    geometry = head_geometry(classifier.head)
    refused = answered = 0

    def check(inputs, answer):
        pixels = inputs.get("images")
        if pixels is None:
            (encoded,) = inputs["image_bytes"]
            pixels = tf.io.decode_image(encoded).numpy()[None] / np.float32(255)
        assert np.all((pixels >= 0) & (pixels <= 1))
        wanted = certify_batch(classifier, pixels, bound, geometry)[1]
        if "nearest_cluster" in answer:
            np.testing.assert_array_equal(answer["nearest_cluster"], wanted.nearest_cluster)
        if "class_id" in answer:
            np.testing.assert_array_equal(answer["class_id"], wanted.class_id)
            np.testing.assert_allclose(
                answer["certified_radius_l2"], wanted.certified_radius_l2, rtol=1e-4, atol=1e-9
            )

    with CApiProcess(version) as server:
        before = server.ask("serving_default", {"images": images})
        for number in range(REQUESTS):
            signature, inputs = KINDS[number % len(KINDS)](rng)
            try:
                answer = server.ask(signature, inputs)
            except RefusedError as error:
                assert error.code in (INVALID_ARGUMENT, NOT_FOUND)
                assert len(error.message) > 20
                refused += 1
            else:
                check(inputs, answer)
                answered += 1
        after = server.ask("serving_default", {"images": images})
    assert refused + answered == REQUESTS
    # Some changed bytes of a JPEG and some extremes are images all the same.
    assert refused > 1000 and answered > 50
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values, err_msg=name)
