"""A call that is waited for no longer than a given time."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
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
    outcome: Future[Result] = Future()

    def work() -> None:
        try:
            outcome.set_result(call())
        except Exception as error:  # whatever it is, it is the caller's
            outcome.set_exception(error)

    # A pool's threads would keep the process alive.
    threading.Thread(target=work, daemon=True).start()
    if not wait([outcome], timeout=max(seconds, 0)).done:
        raise TooLateError(f"no result in {seconds:.3g} s")
    return outcome.result()
