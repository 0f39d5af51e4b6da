"""`python -m export.client`: asks a running model server about an image or a folder of images."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clustr_tf.cli.flags import FractionParser, run
from clustr_tf.run.errors import InputError, RunError
from clustr_tf.serve.transport import MOST_MEGABYTES, Arrays, Server, ServerError, Transport

HOST = flags.DEFINE_string("host", "127.0.0.1", "name or address of the server")
PORT = flags.DEFINE_integer("port", None, "8500 for gRPC and 8501 for REST unless given")
PROTOCOL = flags.DEFINE_enum("protocol", "grpc", ["grpc", "rest"], "how the server is asked")
MODEL = flags.DEFINE_string("model", "clustr", "the model's name on the server")
VERSION = flags.DEFINE_integer("version", None, "a version's number; default: the server's choice")
LABEL = flags.DEFINE_string("label", None, "a version's label, such as stable or canary")
TIMEOUT = flags.DEFINE_float("timeout", Server.timeout_s, "seconds for a question with its retries")
RETRIES = flags.DEFINE_integer(
    "retries", Server.retries, "further attempts (0 to 4) where the server is unavailable"
)
MEGABYTES = flags.DEFINE_integer(
    "max_megabytes",
    Server.max_message_bytes // 2**20,
    "the largest request and answer",
    1,
    MOST_MEGABYTES,
)
CA_FILE = flags.DEFINE_string("ca_file", None, "certificates (PEM) of a server with TLS")
_IMAGE = flags.DEFINE_string("image", None, "a PNG or JPEG file, or a folder of them")
_RADIUS = flags.DEFINE(
    FractionParser(), "radius", None, "l2 in pixels: is the class certified up to there?"
)
_BATCH = flags.DEFINE_integer("batch", 16, "images of a request", 1)
_JSON = flags.DEFINE_bool("json", False, "JSON lines instead of a table")

SUFFIXES = {".png", ".jpg", ".jpeg"}
_HEADINGS = {
    "image": "image",
    "class_id": "class",
    "probability": "probability",
    "certified_radius_l2": "l2 radius",
    "certified_radius_linf": "linf radius",
    "is_certified": "certified",
}
# The outputs that are shown, and their ranks.
_RANKS = {
    "class_id": 1,
    "probabilities": 2,
    "certified_radius_l2": 1,
    "certified_radius_linf": 1,
}
_PORTS = {"grpc": 8500, "rest": 8501}
# Of `Server`'s fields, the flags that are called otherwise.
_FLAGS = {"timeout_s": "timeout", "max_message_bytes": "max_megabytes"}


def main() -> None:
    """Asks what the flags say; done only if every image was answered."""
    files = image_files(_IMAGE.value)
    if _RADIUS.value is not None and not 0 <= _RADIUS.value < float("inf"):
        raise InputError(f"--radius must be at least 0. Received: {_RADIUS.value}")
    transport = connect(server_of_flags(PROTOCOL.value), PROTOCOL.value)
    rows = [row_of(*answered, _RADIUS.value) for answered in ask(transport, files, _BATCH.value)]
    show(rows)
    errors = [row["error"] for row in rows if "error" in row]
    if errors:
        count = "no image was" if len(errors) == len(rows) else f"{len(errors)} of {len(rows)} not"
        raise RunError(f"{count} answered; the first error: {errors[0]}")


def image_files(path: str | None) -> list[Path]:
    """The images that --image names.

    Args:
        path: of a file, or of a folder whose PNG and JPEG files are meant, in order of their names.

    Returns:
        At least one file.

    Raises:
        InputError: if there is none.

    Example:
        >>> image_files("images")  # [images/a.png, images/b.jpg]
    """
    if path is None:
        raise InputError("--image is missing: give a PNG or JPEG file, or a folder of them")
    root = Path(path)
    try:
        if root.is_file():
            return [root]
        files = sorted(
            file for file in root.glob("*") if file.suffix.lower() in SUFFIXES and file.is_file()
        )
    except OSError as error:
        raise InputError(f"--image cannot be read: {error}") from error
    if not files:
        raise InputError(f"--image must be a file or a folder with PNG or JPEG files: {path}")
    return files


def server_of_flags(protocol: str) -> Server:
    """The server that the flags name.

    Raises:
        InputError: if a flag is out of range or its file is missing.
    """
    ca_file = Path(CA_FILE.value) if CA_FILE.value else None
    if ca_file is not None and not ca_file.is_file():
        raise InputError(f"--ca_file must be a file of certificates: {ca_file}")
    try:
        return Server(
            HOST.value,
            _PORTS[protocol] if PORT.value is None else PORT.value,
            MODEL.value,
            VERSION.value,
            LABEL.value,
            TIMEOUT.value,
            RETRIES.value,
            MEGABYTES.value * 2**20,
            ca_file,
        )
    except ValueError as error:
        field, _, words = str(error).partition(" ")
        raise InputError(f"--{_FLAGS.get(field, field)} {words}") from error


def connect(server: Server, protocol: str) -> Transport:
    """A transport to a server; nothing is sent yet.

    Args:
        server: where.
        protocol: "grpc" or "rest".

    Returns:
        The transport.

    Raises:
        InputError: if its file of certificates is none.

    Example:
        >>> connect(Server("127.0.0.1", 8501, "clustr"), "rest")
    """
    try:
        if protocol == "rest":
            from clustr_tf.serve.transport_rest import RestTransport

            return RestTransport(server)
        from clustr_tf.serve.transport_grpc import GrpcTransport

        return GrpcTransport(server)
    except OSError as error:
        raise InputError(f"--ca_file must hold certificates (PEM): {error}") from error


def ask(
    transport: Transport, files: Sequence[Path], batch: int
) -> Iterator[tuple[Path, Arrays | ServerError]]:
    """The server's answer to each file.

    A refused request is repeated image by image, so that one bad file does not hide the others.

    Args:
        transport: to the server.
        files: PNG and JPEG files, sent as they are.
        batch: how many a request.

    Yields:
        Each file with its row of `serving_bytes`, or with what is wrong with it.

    Example:
        >>> dict(ask(transport, [Path("a.png")], batch=1))
    """
    for start in range(0, len(files), batch):
        part = files[start : start + batch]
        contents = [_content(file) for file in part]
        answers = iter(_answers(transport, [data for data in contents if isinstance(data, bytes)]))
        for file, data in zip(part, contents, strict=True):
            yield file, next(answers) if isinstance(data, bytes) else data


def _content(file: Path) -> bytes | ServerError:
    try:
        return file.read_bytes()
    except OSError as error:
        return ServerError("UNREADABLE", error.strerror or str(error))


def _answers(transport: Transport, contents: Sequence[bytes]) -> list[Arrays | ServerError]:
    if not contents:
        return []
    encoded = np.empty(len(contents), object)
    encoded[:] = contents
    try:
        outputs = transport.ask("serving_bytes", {"image_bytes": encoded})
        _check_outputs(outputs, len(contents))
    except ServerError as error:
        if len(contents) > 1 and error.status == "INVALID_ARGUMENT":
            return [answer for data in contents for answer in _answers(transport, [data])]
        return [error] * len(contents)
    return [{name: outputs[name][row] for name in _RANKS} for row in range(len(contents))]


def _check_outputs(outputs: Arrays, count: int) -> None:
    """Whether this is what a model of ours answers, and not another's numbers."""
    for name, rank in _RANKS.items():
        if name not in outputs:
            raise ServerError("UNKNOWN", f"the answer has no {name}; it has {sorted(outputs)}")
        values = outputs[name]
        if values.ndim != rank or len(values) != count or values.dtype.kind not in "iuf":
            raise ServerError(
                "UNKNOWN",
                f"the answer's {name} must have {count} rows of numbers and rank {rank}; "
                f"received {values.dtype} {list(values.shape)}",
            )
    if np.any(outputs["class_id"] >= outputs["probabilities"].shape[1]):
        raise ServerError("UNKNOWN", "the answer's class_id has no probability")


def row_of(file: Path, answer: Arrays | ServerError, radius: float | None) -> dict[str, Any]:
    """An answer as plain numbers; class -1 is a row that the model was exported to flag."""
    if isinstance(answer, ServerError):
        return {"image": str(file), "error": str(answer)}
    class_id = int(answer["class_id"])
    if class_id < 0:
        return {"image": str(file), "error": "the server takes it for no image (class -1)"}
    proved = float(answer["certified_radius_l2"])
    row = {
        "image": str(file),
        "class_id": class_id,
        "probability": float(answer["probabilities"][class_id]),
        "certified_radius_l2": proved,
        "certified_radius_linf": float(answer["certified_radius_linf"]),
    }
    if radius is not None:
        row["is_certified"] = proved > 0 and proved >= radius
    return row


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Prints a table, or a line of JSON for each image."""
    if _JSON.value:
        for row in rows:
            print(json.dumps(row))
        return
    present = {name for row in rows for name in row}
    headings = {name: heading for name, heading in _HEADINGS.items() if name in present}
    table = Table()
    for name, heading in headings.items():
        table.add_column(heading, no_wrap=name == "image")
    for row in rows:
        shown = {**row, "image": Path(row["image"]).name}
        # As text: brackets in the name of a file are no markup.
        table.add_row(*(Text(_cell(shown.get(name, ""))) for name in headings))
    Console(soft_wrap=True).print(table)
    for row in rows:
        if "error" in row:
            print(f"{row['image']}: {row['error']}", file=sys.stderr)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def cli() -> None:
    """Entry point of `clustr-predict`."""
    run(main)


if __name__ == "__main__":
    cli()
