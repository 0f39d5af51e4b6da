"""What a server of an exported model must answer, check by check."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np

from export.comparison import check_outputs
from export.conformance_inputs import bad_batches, bad_rows, good_inputs
from export.contract import INPUTS, OUTPUTS
from export.options import DEFAULTS, ServingOptions
from export.reference_model import Model
from export.transport import Arrays, ServerError, Transport

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
    typed = isinstance(transport, Describing)
    if isinstance(transport, Describing):
        yield Check("names and types of the signatures", partial(_check_signatures, transport))
    for batch in BATCHES:
        wanted = partial(model.answers, model.images(batch))
        for signature, inputs in good_inputs(model, batch).items():
            yield Check(
                f"{signature}, batch {batch}: the model's answers",
                partial(_check_answers, transport, signature, inputs, wanted, typed),
            )
    yield Check("serving_bytes: JPEG", partial(_check_jpeg, transport, model, typed))
    yield Check(
        "certify: certified up to half the proved radius and not beyond it",
        partial(_check_asked_radii, transport, model, typed),
    )
    for name, signature, inputs in bad_batches(model, typed):
        yield Check(
            f"{signature}: refuses {name}",
            partial(_check_refused, transport, signature, inputs, _REFUSED),
        )
    for name, signature, inputs in bad_rows(model, options.max_image_bytes):
        if options.on_invalid == "refuse":
            yield Check(
                f"{signature}: refuses {name}",
                partial(_check_refused, transport, signature, inputs, _REFUSED),
            )
        else:
            yield Check(
                f"{signature}: flags {name} and answers its neighbour",
                partial(_check_flagged, transport, model, signature, inputs, typed),
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
        partial(
            _check_answers,
            transport,
            "serving_default",
            images,
            partial(model.answers, images["images"]),
            typed,
        ),
    )


def _check_signatures(transport: Describing) -> None:
    wanted = {name: (INPUTS[name], OUTPUTS[name]) for name in INPUTS}
    found = transport.signatures()
    assert found.keys() == wanted.keys(), f"they are {sorted(found)}, not {sorted(wanted)}"
    for name, described in wanted.items():
        assert found[name] == described, f"{name} has {found[name]}, not {described}"


def _check_answers(
    transport: Transport,
    signature: str,
    inputs: Arrays,
    wanted: Callable[[], Arrays],
    typed: bool,
) -> None:
    check_outputs(signature, transport.ask(signature, inputs), wanted(), typed)


def _check_jpeg(transport: Transport, model: Model, typed: bool) -> None:
    files, images = model.photographs(3)
    found = transport.ask("serving_bytes", {"image_bytes": files})
    check_outputs("serving_bytes", found, model.answers(images), typed)


def _check_asked_radii(transport: Transport, model: Model, typed: bool) -> None:
    images = model.images(4)
    wanted = model.answers(images)
    proved = wanted["certified_radius_l2"].astype(np.float32)
    within = np.array([True, False, True, False])
    asked = np.where(within, proved / 2, 2 * proved + 1e-6).astype(np.float32)
    wanted["is_certified"] = within & (proved > 0)
    found = transport.ask("certify", {"images": images, "radius_l2": asked})
    check_outputs("certify", found, wanted, typed)


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


def _check_flagged(
    transport: Transport, model: Model, signature: str, inputs: Arrays, typed: bool
) -> None:
    wanted = model.answers(model.images(2))
    for values in wanted.values():
        values[1] = -1 if values.dtype == np.int64 else 0
    check_outputs(signature, transport.ask(signature, inputs), wanted, typed)
