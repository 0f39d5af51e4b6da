"""A call that is waited for no longer than a given time."""

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


class TooLateError(Exception):
    """There was no result in time."""


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """The result of a call, if it is there in time.

    A socket's timeout starts anew with every byte, so that whoever sends them slowly enough keeps
    a caller for ever; this one goes on. The call itself is left to a thread that does not keep the
    process alive, and must end by itself some day.

    Args:
        seconds: to wait.
        call: without arguments.

    Returns:
        What it returns.

    Raises:
        TooLateError: if there is no result after `seconds`.
        Exception: what the call raises.

    Example:
        >>> within(2.0, lambda: session.get(url).content)
    """
    outcomes: queue.SimpleQueue[tuple[Result, None] | tuple[None, Exception]]
    outcomes = queue.SimpleQueue()

    def work() -> None:
        try:
            outcomes.put((call(), None))
        except Exception as error:
            outcomes.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        result, error = outcomes.get(timeout=max(seconds, 0))
    except queue.Empty:
        raise TooLateError(f"no result in {seconds:.3g} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]
