"""What a server of an exported model must answer, check by check."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from clustr_tf.certificates import lipschitz_bound
from clustr_tf.certification import certified_classifier, certify_batch, head_geometry
from clustr_tf.classifier import Classifier
from export.transport import Arrays, ServerError, Transport

BATCHES = (1, 3, 64)
# Of float32 through another engine, relative to the largest value.
_TOLERANCE = 1e-4
_REFUSED = ("INVALID_ARGUMENT",)
_UNKNOWN = ("NOT_FOUND", "FAILED_PRECONDITION", "INVALID_ARGUMENT")


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: what is checked.
        run: raises AssertionError or ServerError, in words, where it fails.
    """

    name: str
    run: Callable[[], None]


class Model:
    """What the workdir's own model answers.

    Args:
        classifier: of the workdir.

    Raises:
        ValueError: if it has no certificate.
    """

    def __init__(self, classifier: Classifier):
        self._classifier = certified_classifier(classifier)
        self._bound = lipschitz_bound(self._classifier.embedder)
        self._geometry = head_geometry(self._classifier.head)
        self.image_shape = self._classifier.image_shape

    def images(self, count: int) -> np.ndarray:
        """Random 8-bit images, float32 `[count, H, W, C]` in [0, 1]."""
        values = np.random.default_rng(count).integers(0, 256, (count, *self.image_shape))
        return (values / 255).astype(np.float32)

    def encoded(self, images: np.ndarray) -> np.ndarray:
        """PNG files of 8-bit images."""
        values = np.empty(len(images), object)
        values[:] = [tf.io.encode_png(np.uint8(np.rint(255 * image))).numpy() for image in images]
        return values

    def answers(self, images: np.ndarray) -> Arrays:
        """Every output of every signature, for radii of 0."""
        embeddings, found = certify_batch(self._classifier, images, self._bound, self._geometry)
        named: dict[str, Any] = found._asdict()
        log_scores = named.pop("log_scores")
        del named["nearest_cluster_radius_l2"]
        named["probabilities"] = tf.nn.softmax(log_scores)
        named["embeddings"] = tf.cast(embeddings, tf.float32)
        named["is_certified"] = found.certified_radius_l2 > 0
        return {name: np.asarray(values) for name, values in named.items()}


def checks_of(
    transport: Transport, strangers: dict[str, Transport], model: Model, on_invalid: str
) -> Iterator[Check]:
    """The checks of one protocol.

    Args:
        transport: to the model.
        strangers: to models and versions that should not be there, by name.
        model: whose answers are expected.
        on_invalid: what the model was exported with.

    Yields:
        Checks, to be run in this order.
    """
    for batch in BATCHES:
        for signature, inputs in _good_inputs(model, batch).items():
            yield Check(
                f"{signature}, batch {batch}: the model's answers",
                partial(_check_answers, transport, model, signature, inputs, batch),
            )
    for name, signature, inputs in _bad_batches(model):
        yield Check(
            f"{signature}: refuses {name}",
            partial(_check_refused, transport, signature, inputs, _REFUSED),
        )
    for name, signature, inputs in _bad_rows(model):
        if on_invalid == "refuse":
            yield Check(
                f"{signature}: refuses {name}",
                partial(_check_refused, transport, signature, inputs, _REFUSED),
            )
        else:
            yield Check(
                f"{signature}: flags {name} and answers its neighbour",
                partial(_check_flagged, transport, model, signature, inputs),
            )
    images = {"images": model.images(1)}
    yield Check(
        "refuses an unknown signature",
        partial(_check_refused, transport, "no_such_signature", images, _UNKNOWN),
    )
    for name, stranger in strangers.items():
        yield Check(
            f"refuses {name}",
            partial(_check_refused, stranger, "serving_default", images, _UNKNOWN),
        )
    yield Check(
        "still answers after all of this",
        partial(_check_answers, transport, model, "serving_default", images, 1),
    )


def _good_inputs(model: Model, batch: int) -> dict[str, Arrays]:
    images = model.images(batch)
    return {
        "serving_default": {"images": images},
        "certify": {"images": images, "radius_l2": np.zeros(batch, np.float32)},
        "embed": {"images": images},
        "serving_bytes": {"image_bytes": model.encoded(images)},
    }


def _bad_batches(model: Model) -> Iterator[tuple[str, str, Arrays]]:
    """What no export answers: name, signature, inputs."""
    images = model.images(2)
    yield "an empty batch", "serving_default", {"images": images[:0]}
    yield "images of another height", "serving_default", {"images": images[:, 1:]}
    yield "an image without a batch", "embed", {"images": images[0]}
    yield "another number of radii", "certify", {"images": images, "radius_l2": np.zeros(3, "f4")}
    yield "an empty batch", "serving_bytes", {"image_bytes": np.array([], object)}
    yield "another input's name", "serving_default", {"pictures": images}


def _bad_rows(model: Model) -> Iterator[tuple[str, str, Arrays]]:
    """The second row of two is bad: name, signature, inputs."""
    for name, value in (("a pixel above 1", 1.5), ("a pixel below 0", -0.5)):
        images = model.images(2)
        images[1, 0, 0, 0] = value
        yield name, "serving_default", {"images": images}
        yield name, "embed", {"images": images}
    images = model.images(2)
    yield "a radius below 0", "certify", {"images": images, "radius_l2": np.array([0, -1], "f4")}
    png = model.encoded(images)
    for name, broken in (("random bytes", b"no image"), ("half a PNG", png[1][: len(png[1]) // 2])):
        encoded = png.copy()
        encoded[1] = broken
        yield name, "serving_bytes", {"image_bytes": encoded}


def _check_answers(
    transport: Transport, model: Model, signature: str, inputs: Arrays, batch: int
) -> None:
    found, wanted = transport.ask(signature, inputs), model.answers(model.images(batch))
    for name, values in found.items():
        assert name in wanted, f"unexpected output {name!r}"
        _check_equal(name, values, wanted[name])


def _check_equal(name: str, values: np.ndarray, wanted: np.ndarray) -> None:
    assert values.shape == wanted.shape, f"{name} has the shape {values.shape}, not {wanted.shape}"
    if wanted.dtype.kind in "ib":
        assert np.array_equal(values, wanted), f"{name} differs"
        return
    error = np.max(np.abs(values.astype(np.float64) - wanted)) / max(np.max(np.abs(wanted)), 1e-30)
    assert error <= _TOLERANCE, f"{name} differs by {error:.1e} of its largest value"


def _check_refused(
    transport: Transport, signature: str, inputs: Arrays, statuses: tuple[str, ...]
) -> None:
    try:
        transport.ask(signature, inputs)
    except ServerError as error:
        assert error.status in statuses, f"refused with {error}"
        assert len(error.message) > 10, f"refused without words: {error}"
        return
    raise AssertionError("it was answered")


def _check_flagged(transport: Transport, model: Model, signature: str, inputs: Arrays) -> None:
    found, wanted = transport.ask(signature, inputs), model.answers(model.images(2))
    for name, values in found.items():
        nothing = -1 if wanted[name].dtype == np.int64 else 0
        assert np.all(values[1] == nothing), f"{name} of the bad row is {values[1]}"
        _check_equal(name, values[:1], wanted[name][:1])
