"""Shared fixtures: the numbers of the official PyTorch code, and a browser."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

# The test processes share the cores: with threads for all of them each, they get in each other's
# way. TensorFlow reads this when it is first imported.
for kind in ("INTRAOP", "INTEROP"):
    os.environ.setdefault(f"TF_NUM_{kind}_THREADS", "1")

# What a program says is compared line by line. Set here, as a fork server keeps the environment of
# the first test that uses it: TensorFlow's own lines would be in it or not by the order of tests.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# A job in the background ignores SIGINT and hands that down to the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def golden():
    """Arrays of the unmodified official ClusTR code in float64: tests/golden/README.md."""
    with np.load(Path(__file__).parent / "golden" / "golden.npz", allow_pickle=False) as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def browser():
    """Debian's chromium, headless."""
    from playwright.sync_api import sync_playwright  # few tests need it

    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.fail(f"{chromium} is missing; install it: apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()
