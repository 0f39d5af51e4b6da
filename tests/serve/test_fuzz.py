"""2,000 malformed requests through TensorFlow's C API: a right answer or words, and no crash."""

import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.certify.radii import certify_batch, head_geometry
from clustr_tf.data.image_decoding import JPEG_METHOD
from clustr_tf.serve.options import ServingOptions
from clustr_tf.serve.saving import export_savedmodel
from tests.serve.c_api_client import CApiProcess, RefusedError

INVALID_ARGUMENT, NOT_FOUND = 3, 5
REQUESTS = 2000
EXTREMES = np.array(
    [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, -0.0, 1.0000001, -1e-7, 255, 0.5, 1], np.float32
)


def damaged(rng, encoded):
    """Cut, or with some bytes changed, or with others put in front or behind."""
    kind = rng.integers(4)
    if kind == 0:
        return encoded[: rng.integers(len(encoded))]
    if kind == 1:
        changed = np.frombuffer(encoded, np.uint8).copy()
        changed[rng.integers(len(changed), size=rng.integers(1, 6))] ^= np.uint8(
            rng.integers(1, 256)
        )
        return changed.tobytes()
    more = rng.bytes(int(rng.integers(1, 9)))
    return more + encoded if kind == 2 else encoded + more


def request_of_bytes(rng):
    pixels = rng.integers(0, 256, (8, 8, 1), np.uint8)
    kinds = [
        tf.io.encode_png(pixels).numpy(),
        tf.io.encode_jpeg(pixels).numpy(),
        rng.bytes(int(rng.integers(1, 200))),
    ]
    good = kinds[rng.integers(2)]
    rows = [good] * int(rng.integers(4)) + [damaged(rng, kinds[rng.integers(3)])]
    return "serving_bytes", {"image_bytes": np.array([*rng.permutation(rows), None], object)[:-1]}


def request_of_shapes(rng):
    shape = rng.integers(0, 10, size=rng.integers(0, 7))
    if rng.integers(8) == 0:
        shape = (rng.integers(1, 4), 8, 8, 1)
    images = np.asarray(rng.uniform(size=shape), np.float32)
    signature = str(rng.choice(["serving_default", "embed", "certify", "serving_bytes"]))
    if signature == "serving_bytes":
        encoded = np.full(shape[:5], b"no image", object)
        return signature, {"image_bytes": encoded}
    if signature == "certify":
        radii = rng.uniform(size=shape[: rng.integers(3)])
        return signature, {"images": images, "radius_l2": np.asarray(radii, np.float32)}
    return signature, {"images": images}


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


PREDICTIONS = {"class_id", "probabilities", "certified_radius_l2", "certified_radius_linf"}
OUTPUTS = {
    "serving_default": PREDICTIONS,
    "serving_bytes": PREDICTIONS,
    "embed": {"embeddings", "nearest_cluster", "squared_distances"},
    "certify": {
        *("class_id", "certified_radius_l2", "certified_radius_linf", "embedding_margin"),
        *("nearest_cluster", "runner_up_class_id", "is_certified"),
    },
}
KINDS = [request_of_bytes, request_of_shapes, request_of_extremes, request_of_strangers]


@pytest.fixture(scope="module")
def version(classifier, bound, tmp_path_factory):
    """Without the search for radii: what is searched for here is a crash."""
    output = tmp_path_factory.mktemp("quick") / "clustr"
    return export_savedmodel(classifier, output, bound, ServingOptions(linf="off"))


@pytest.mark.slow
def test_no_request_is_answered_wrongly_or_ends_the_process(version, classifier, bound, images):
    rng = np.random.default_rng(11)
    geometry = head_geometry(classifier.head)
    refused = answered = 0

    def check(signature, inputs, answer):
        """Every output, against the Keras model's embeddings and scores of the same pixels."""
        pixels = inputs.get("images")
        if pixels is None:
            decoded = [
                tf.io.decode_jpeg(encoded, dct_method=JPEG_METHOD).numpy()
                for encoded in inputs["image_bytes"]
            ]
            pixels = np.stack(decoded) / np.float32(255)
        assert np.all((pixels >= 0) & (pixels <= 1))
        found = certify_batch(classifier, pixels, bound, geometry, search=None)[1]
        wanted = found._asdict()
        wanted["probabilities"] = tf.nn.softmax(classifier(pixels))
        wanted["embeddings"] = classifier.embed(pixels)
        radius = np.asarray(found.certified_radius_l2)
        wanted["is_certified"] = (radius > 0) & (radius >= inputs.get("radius_l2", 0))
        assert answer.keys() == OUTPUTS[signature]
        for name, values in answer.items():
            expected = np.asarray(wanted[name])
            if expected.dtype.kind in "ib":
                np.testing.assert_array_equal(values, expected, err_msg=name)
            else:
                atol = 1e-5 * float(np.max(np.abs(expected)))
                np.testing.assert_allclose(values, expected, rtol=1e-4, atol=atol, err_msg=name)

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
                check(signature, inputs, answer)
                answered += 1
        after = server.ask("serving_default", {"images": images})
    assert refused + answered == REQUESTS
    # Some changed bytes of a JPEG and some extremes are images all the same.
    assert refused > 1000 and answered > 50
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values, err_msg=name)
