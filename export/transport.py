"""How a running model server is asked: over gRPC or REST, by one interface."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

# Of the statuses that say that a server may answer later (gRPC's names, HTTP's numbers).
RETRIED = {"UNAVAILABLE": 503, "RESOURCE_EXHAUSTED": 429}
FIRST_WAIT_S = 0.2

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
        timeout_s: of each attempt.
        retries: further attempts where the server is unavailable, waiting 0.2 s, 0.4 s, ...
        max_message_bytes: the largest request and answer.
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
        if not 1 <= self.port <= 65535:
            raise ValueError(f"port must be 1 to 65535. Received: {self.port}")
        if not 0 < self.timeout_s < float("inf"):
            raise ValueError(f"timeout_s must be above 0. Received: {self.timeout_s}")
        if not 0 <= self.retries <= 4:  # gRPC makes five attempts at most
            raise ValueError(f"retries must be 0 to 4. Received: {self.retries}")
        if self.max_message_bytes < 1:
            raise ValueError(
                f"max_message_bytes must be at least 1. Received: {self.max_message_bytes}"
            )
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
