"""What a server of an exported model must answer, check by check."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import tensorflow as tf

from clustr_tf.certify.l2.lipschitz import lipschitz_bound
from clustr_tf.certify.linf.search import SEARCHES
from clustr_tf.certify.radii import certified_classifier, certify_batch, head_geometry
from clustr_tf.classifier import Classifier
from clustr_tf.data.image_decoding import JPEG_METHOD
from clustr_tf.data.pixels import to_pixels
from clustr_tf.serve.options import DEFAULTS, INPUTS, OUTPUTS, ServingOptions, good_inputs
from clustr_tf.serve.transport import Arrays, ServerError, Transport


class Model:
    """What the workdir's own model answers.

    Args:
        classifier: of the workdir.
        options: what it was exported with.

    Raises:
        ValueError: if it has no certificate.
    """

    def __init__(self, classifier: Classifier, options: ServingOptions = DEFAULTS):
        classifier = certified_classifier(classifier)
        bound, geometry = lipschitz_bound(classifier.embedder), head_geometry(classifier.head)
        self._certify = tf.function(
            lambda images: certify_batch(
                classifier, images, bound, geometry, search=SEARCHES[options.linf]
            ),
            autograph=False,
            reduce_retracing=True,
        )
        self.image_shape = classifier.image_shape

    def images(self, count: int) -> np.ndarray:
        """Random 8-bit images, float32 `[count, H, W, C]` in [0, 1]."""
        values = np.random.default_rng(count).integers(0, 256, (count, *self.image_shape))
        return to_pixels(values.astype(np.uint8))

    def encoded(self, images: np.ndarray) -> np.ndarray:
        """PNG files of 8-bit images."""
        values = np.empty(len(images), object)
        values[:] = [tf.io.encode_png(np.uint8(np.rint(255 * image))).numpy() for image in images]
        return values

    def photographs(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """JPEG files of random images, and the pixels that TensorFlow's decoder finds in them."""
        files = np.empty(count, object)
        files[:] = [
            tf.io.encode_jpeg(np.uint8(np.rint(255 * image))).numpy()
            for image in self.images(count)
        ]
        decoded = np.stack(
            [tf.io.decode_jpeg(file, dct_method=JPEG_METHOD).numpy() for file in files]
        )
        return files, to_pixels(decoded)

    def answers(self, images: np.ndarray) -> Arrays:
        """Every output of every signature, for radii of 0."""
        embeddings, found = self._certify(tf.constant(images))
        named: dict[str, Any] = found._asdict()
        log_scores = named.pop("log_scores")
        del named["nearest_cluster_radius_l2"], named["proved"]
        named["probabilities"] = tf.nn.softmax(log_scores)
        named["embeddings"] = tf.cast(embeddings, tf.float32)
        named["is_certified"] = found.certified_radius_l2 > 0
        return {name: np.array(values) for name, values in named.items()}


BATCHES = (1, 3, 64)
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


@runtime_checkable
class Describing(Protocol):
    """A transport that tells names and types, which gRPC's does."""

    def signatures(self) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
        """Of every signature's inputs and outputs."""


def checks_of(
    transport: Transport,
    strangers: dict[str, Transport],
    model: Model,
    options: ServingOptions = DEFAULTS,
) -> Iterator[Check]:
    """The checks of one protocol.

    Args:
        transport: to the model; one that has `signatures` is asked for them and must answer with
            the exact types.
        strangers: to models and versions that should not be there, by name.
        model: whose answers are expected.
        options: what the model was exported with.

    Yields:
        Checks, to be run in this order.
    """
    server = _Server(transport, model)
    images = {"images": model.images(1)}
    if isinstance(transport, Describing):
        yield Check("names and types of the signatures", partial(_check_signatures, transport))
    for batch in BATCHES:
        several = model.images(batch)
        wanted = model.answers(several)
        for signature, inputs in good_inputs(several, model.encoded(several)).items():
            yield Check(
                f"{signature}, batch {batch}: the model's answers",
                partial(server.answers, signature, inputs, wanted),
            )
    yield Check("serving_bytes: JPEG", server.takes_jpeg)
    for signature, norm in (("certify", "l2"), ("certify_linf", "linf")):
        yield Check(
            f"{signature}: certified up to half the proved radius and not beyond it",
            partial(server.compares_radii, signature, norm),
        )
    for name, signature, inputs in _bad_batches(model, server.typed):
        yield Check(f"{signature}: refuses {name}", partial(server.refuses, signature, inputs))
    for name, signature, inputs in _bad_rows(model, options.max_image_bytes):
        if options.on_invalid == "refuse":
            yield Check(f"{signature}: refuses {name}", partial(server.refuses, signature, inputs))
        else:
            yield Check(
                f"{signature}: flags {name} and answers its neighbour",
                partial(server.flags, signature, inputs),
            )
    yield Check(
        "refuses an unknown signature",
        partial(server.refuses, "no_such_signature", images, _UNKNOWN),
    )
    for name, stranger in strangers.items():
        asked = _Server(stranger, model)
        yield Check(f"refuses {name}", partial(asked.refuses, "serving_default", images, _UNKNOWN))
    yield Check(
        "still answers after all of this",
        partial(server.answers, "serving_default", images, model.answers(images["images"])),
    )


def _check_signatures(transport: Describing) -> None:
    wanted = {name: (INPUTS[name], OUTPUTS[name]) for name in INPUTS}
    found = transport.signatures()
    assert found.keys() == wanted.keys(), f"they are {sorted(found)}, not {sorted(wanted)}"
    for name, described in wanted.items():
        assert found[name] == described, f"{name} has {found[name]}, not {described}"


class _Server:
    """What must be true of a server's answers; each method is a check."""

    def __init__(self, transport: Transport, model: Model):
        self._ask, self._model = transport.ask, model
        self.typed = isinstance(transport, Describing)

    def answers(self, signature: str, inputs: Arrays, wanted: Arrays) -> None:
        check_outputs(signature, self._ask(signature, inputs), wanted, self.typed)

    def takes_jpeg(self) -> None:
        files, images = self._model.photographs(3)
        self.answers("serving_bytes", {"image_bytes": files}, self._model.answers(images))

    def compares_radii(self, signature: str, norm: str) -> None:
        images = self._model.images(4)
        wanted = self._model.answers(images)
        proved = wanted[f"certified_radius_{norm}"].astype(np.float32)
        within = np.array([True, False, True, False])
        asked = np.where(within, proved / 2, 2 * proved + 1e-6).astype(np.float32)
        wanted["is_certified"] = within & (proved > 0)
        self.answers(signature, {"images": images, f"radius_{norm}": asked}, wanted)

    def refuses(self, signature: str, inputs: Arrays, statuses: tuple[str, ...] = _REFUSED) -> None:
        try:
            self._ask(signature, inputs)
        except ServerError as error:
            assert error.status in statuses, f"refused with {error}"
            assert len(error.message) > 10, f"refused without words: {error}"
            return
        raise AssertionError("it was answered")

    def flags(self, signature: str, inputs: Arrays) -> None:
        self.answers(signature, inputs, self._with_a_flagged_row)

    @cached_property
    def _with_a_flagged_row(self) -> Arrays:
        """What is wanted where the second of two images is bad."""
        wanted = self._model.answers(self._model.images(2))
        for values in wanted.values():
            values[1] = -1 if values.dtype == np.int64 else 0
        return wanted


# Of float32 through another engine, relative to the largest value.
_TOLERANCE = 1e-4
# By which a radius may be above the proved one: float32's rounding of what is the same number.
_ABOVE = 1e-6
_RADII = ("certified_radius_l2", "certified_radius_linf")
# JSON has numbers: 1.0 may come as 1.
_KINDS = {"int64": "iu", "float32": "fiu", "bool": "b"}


def check_outputs(signature: str, found: Arrays, wanted: Arrays, typed: bool) -> None:
    """Compares an answer with the model's.

    Args:
        signature: its name; the outputs must be exactly its own.
        found: the server's outputs.
        wanted: the model's, of any signature.
        typed: whether numbers travel with their type, as over gRPC.

    Raises:
        AssertionError: in words, where they differ. Certified radii may be a little smaller than
            the model's, but above them by 1e-6 of the largest at most.

    Example:
        >>> check_outputs("embed", transport.ask("embed", inputs), model.answers(images), True)
    """
    outputs = OUTPUTS[signature]
    assert found.keys() == outputs.keys(), f"the outputs are {sorted(found)}, not {sorted(outputs)}"
    for name, dtype in outputs.items():
        values = found[name]
        if typed:
            assert values.dtype == dtype, f"{name} is {values.dtype}, not {dtype}"
        else:
            assert values.dtype.kind in _KINDS[dtype], f"{name} is {values.dtype}, not {dtype}"
        _check_values(name, values, wanted[name])


def _check_values(name: str, values: np.ndarray, wanted: np.ndarray) -> None:
    assert values.shape == wanted.shape, f"{name} has the shape {values.shape}, not {wanted.shape}"
    if wanted.dtype.kind in "ib":
        assert np.array_equal(values, wanted), f"{name} differs"
        return
    # NaN is above no bound: what is asked is whether all is well, not whether something is wrong.
    difference = values.astype(np.float64) - wanted
    largest = max(np.max(np.abs(wanted)), 1e-30)
    error = np.max(np.abs(difference)) / largest
    assert error <= _TOLERANCE, f"{name} differs by {error:.1e} of its largest value"
    if name in _RADII:
        above = np.max(difference) / largest
        assert above <= _ABOVE, f"{name} is above the proved one by {above:.1e} of the largest"


_Request = tuple[str, str, Arrays]  # what is wrong, signature, inputs


def _bad_batches(model: Model, typed: bool) -> Iterator[_Request]:
    """What no export answers."""
    images = model.images(2)
    yield "an empty batch", "serving_default", {"images": images[:0]}
    yield "images of another height", "serving_default", {"images": images[:, 1:]}
    yield "an image without a batch", "embed", {"images": images[0]}
    yield "another number of radii", "certify", {"images": images, "radius_l2": np.zeros(3, "f4")}
    yield "an empty batch", "serving_bytes", {"image_bytes": np.array([], object)}
    yield "another input's name", "serving_default", {"pictures": images}
    yield "pixels that are true or false", "serving_default", {"images": images > 0.5}
    if typed:
        yield "float64", "serving_default", {"images": images.astype(np.float64)}


def _bad_rows(model: Model, max_image_bytes: int) -> Iterator[_Request]:
    """The second row of two is bad."""
    values = {"a pixel above 1": 1.5, "a pixel below 0": -0.5, "NaN": np.nan, "infinity": np.inf}
    for name, value in values.items():
        images = model.images(2)
        images[1, 0, 0, 0] = value
        yield name, "serving_default", {"images": images}
        yield name, "embed", {"images": images}
        yield name, "certify", {"images": images, "radius_l2": np.zeros(2, np.float32)}
    images = model.images(2)
    for name, value in {"a radius below 0": -1, "a radius of NaN": np.nan}.items():
        yield name, "certify", {"images": images, "radius_l2": np.array([0, value], np.float32)}
    png = model.encoded(images)
    broken = {
        "random bytes": b"no image",
        "half a PNG": png[1][: len(png[1]) // 2],
        # Decoders do not read what follows an image.
        f"a PNG of {max_image_bytes + 1} bytes": png[1].ljust(max_image_bytes + 1, b"\0"),
    }
    for name, content in broken.items():
        encoded = png.copy()
        encoded[1] = content
        yield name, "serving_bytes", {"image_bytes": encoded}
