"""Leaving in order when asked to: by Ctrl-C, or by SIGTERM where a machine is taken away."""

import signal
import threading
from types import FrameType, TracebackType

from clustr_tf.run.errors import TerminatedError


class Interruption:
    """Hears SIGINT and SIGTERM while its block runs, so that the work can end at a safe place.

    A signal that nobody asked about ends the program when the block is done; a second Ctrl-C does
    not wait for that. Outside the main thread nothing is heard.

    Args:
        at_once: the work ends wherever it is, as if by Ctrl-C: for work that is safe everywhere.

    Example:
        >>> with Interruption() as interruption:
        ...     while not interruption.requested: work()
        ...     interruption.leave()
    """

    def __init__(self, at_once: bool = False) -> None:
        self._at_once = at_once
        self._signal: int | None = None

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        return self._signal is not None

    def leave(self) -> None:
        """Ends the program the way the signal would have.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
            TerminatedError: after SIGTERM, or if another worker was asked to leave.
        """
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise TerminatedError("Terminated. The same command resumes where this one stopped.")

    def __enter__(self) -> "Interruption":
        # Python delivers signals to the main thread and lets no other one ask for them.
        heard = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if heard else ()
        self._previous = {number: signal.signal(number, self._hear) for number in numbers}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self.requested and (kind is None or (self._at_once and kind is KeyboardInterrupt)):
            self.leave()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = number
        if self._at_once:
            # Not TerminatedError: no library takes this one for a failure of the work.
            raise KeyboardInterrupt
