"""Signals are heard at once and answered where the work can end."""

import signal
import threading

import pytest

from clustr_tf.run.errors import TerminatedError
from clustr_tf.run.interruption import Interruption

OUTCOMES = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, TerminatedError)]


@pytest.fixture(autouse=True)
def ignored():
    """Signals are ignored outside the block; the handlers of pytest come back afterwards."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    yield
    for number, handler in zip(numbers, previous, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "error"), OUTCOMES)
def test_the_work_goes_on_until_it_leaves(number, error):
    worked = []
    with pytest.raises(error), Interruption() as interruption:
        assert not interruption.requested
        signal.raise_signal(number)
        assert interruption.requested
        worked.append("after the signal")
        interruption.leave()
    assert worked == ["after the signal"]


@pytest.mark.parametrize(("number", "error"), OUTCOMES)
def test_a_signal_that_nobody_asked_about_ends_the_program_after_the_block(number, error):
    worked = []
    with pytest.raises(error), Interruption():
        signal.raise_signal(number)
        worked.append("to the end")
    assert worked == ["to the end"]


def test_an_error_of_the_work_is_not_hidden_by_a_signal():
    with pytest.raises(ValueError, match="of the work"), Interruption():
        signal.raise_signal(signal.SIGTERM)
        raise ValueError("of the work")


def test_a_second_ctrl_c_does_not_wait():
    with pytest.raises(KeyboardInterrupt), Interruption():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it went on")


@pytest.mark.parametrize(("number", "error"), OUTCOMES)
def test_work_that_is_safe_everywhere_ends_where_it_is(number, error):
    with pytest.raises(error), Interruption(at_once=True):
        try:
            signal.raise_signal(number)
        except Exception:
            pytest.fail("taken for a failure of the work")
        pytest.fail("it went on")


def test_asked_by_another_worker_it_counts_as_terminated():
    with pytest.raises(TerminatedError, match="resumes"):
        Interruption().leave()


def test_the_handlers_before_come_back():
    with Interruption():
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_another_thread_hears_nothing_and_works_all_the_same():
    heard = []

    def work():
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGTERM)
            heard.append(interruption.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False]
