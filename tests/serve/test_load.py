"""Many clients at once: everyone gets their own answers, and the figures are stated."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.serve.double_client import Double

CLIENTS, SECONDS = 8, 60
EXACT = ("class_id",)
# The rest is of float32: JSON's decimals and another batch's order of additions.
RELATIVE, OF_THE_LARGEST = 1e-5, 1e-6


@pytest.mark.slow
def test_eight_clients_for_a_minute_get_no_wrong_answer(version, signatures, images):
    """Four over gRPC, four over REST; TensorFlow has answered each image alone before.

    Every output of every answer is compared. Prints how long answers took.
    """
    wanted = {
        name: np.concatenate(
            [signatures["serving_default"](images=image[None])[name] for image in images]
        )
        for name in signatures["serving_default"].structured_outputs
    }
    with Double(version) as double:
        end = time.monotonic() + SECONDS

        def client(number):
            protocol = "grpc" if number % 2 else "rest"
            transport, rng = double.transport(protocol), np.random.default_rng(number)
            seconds = []
            while time.monotonic() < end:
                rows = rng.integers(0, len(images), rng.integers(1, 5))
                begin = time.perf_counter()
                found = transport.ask("serving_default", {"images": images[rows]})
                seconds.append(time.perf_counter() - begin)
                check(found, wanted, rows)
            return protocol, seconds

        with ThreadPoolExecutor(CLIENTS) as executor:
            results = list(executor.map(client, range(CLIENTS)))
    for protocol in ("grpc", "rest"):
        seconds = np.concatenate([times for name, times in results if name == protocol])
        median, slow = 1e3 * np.quantile(seconds, [0.5, 0.99])
        print(f"{protocol}: {len(seconds)} requests, p50 {median:.1f} ms, p99 {slow:.1f} ms")
        # A server that answers one client after the other, once a second, is no server.
        assert len(seconds) > CLIENTS * SECONDS


def check(found, wanted, rows):
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        if name in EXACT:
            np.testing.assert_array_equal(found[name], values[rows], err_msg=name)
        else:
            atol = OF_THE_LARGEST * float(np.max(np.abs(values)))
            np.testing.assert_allclose(
                found[name], values[rows], rtol=RELATIVE, atol=atol, err_msg=name
            )
