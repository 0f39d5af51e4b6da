"""How a running model server is asked: over gRPC or REST, by one interface."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from clustr_tf.run.checks import check, check_above_0

# Of the statuses that say that a server may answer later (gRPC's names, HTTP's numbers).
RETRIED = {"UNAVAILABLE": 503, "RESOURCE_EXHAUSTED": 429}
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
# gRPC's limits are int32.
MOST_MEGABYTES = 2047

Arrays = dict[str, np.ndarray]


class ServerError(Exception):
    """What a server answered instead of outputs.

    Args:
        status: gRPC's name of it, such as INVALID_ARGUMENT.
        message: the server's words.
    """

    def __init__(self, status: str, message: str):
        # Which node of the graph said it helps nobody outside.
        self.status, self.message = status, " ".join(message.partition("[[{{")[0].split())
        super().__init__(f"{status}: {self.message}")


@dataclass(frozen=True)
class Server:
    """Where a model is served, and how patiently it is asked.

    Args:
        host: name or address.
        port: of gRPC (8500) or REST (8501).
        model: its name there.
        version: a version's number; None for the server's own choice.
        label: of a version; None likewise.
        timeout_s: of a question: all of its attempts, waits and answer together.
        retries: further attempts, 0 to 4, where the server is unavailable or has too much to do,
            after about 0.2 s, 0.4 s, ... (at most 5 s) and as long as there is time. An attempt
            that gets no answer in time is not repeated: there is no time left.
        max_message_bytes: the largest request and answer, at most 2047 MiB.
        ca_file: certificates that a TLS server's is checked against; None for no TLS.

    Raises:
        ValueError: if a number is out of range, or both version and label are given.

    Example:
        >>> Server("127.0.0.1", 8500, "clustr")
    """

    host: str
    port: int
    model: str
    version: int | None = None
    label: str | None = None
    timeout_s: float = 10.0
    retries: int = 3
    max_message_bytes: int = 64 * 2**20
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        check(self, "1 to 65535", lambda port: 1 <= port <= 65535, "port")
        check_above_0(self, "timeout_s")
        # gRPC makes five attempts at most
        check(self, "0 to 4", lambda retries: 0 <= retries <= 4, "retries")
        most = MOST_MEGABYTES * 2**20
        check(self, f"1 to {most}", lambda size: 1 <= size <= most, "max_message_bytes")
        if self.version is not None and self.label is not None:
            raise ValueError(
                f"version and label exclude each other. Received: {self.version}, {self.label!r}"
            )


class Transport(Protocol):
    """Asks a server; one object may be used by several threads."""

    def ask(self, signature: str, inputs: Arrays) -> Arrays:
        """Outputs by name.

        Args:
            signature: its name.
            inputs: arrays by name; strings as object arrays of bytes.

        Returns:
            Arrays by name.

        Raises:
            ServerError: if the server refuses or cannot be reached.
        """


def certificates(file: Path) -> bytes:
    """Reads the certificates of `Server.ca_file`.

    Args:
        file: PEM texts.

    Returns:
        Its content.

    Raises:
        OSError: if it cannot be read, or holds no certificate.

    Example:
        >>> certificates(Path("ca.pem"))
    """
    content = file.read_bytes()
    # Found out here, rather than in a handshake that says nothing of the file.
    ssl.create_default_context(cadata=content.decode("ascii", "ignore"))
    return content
