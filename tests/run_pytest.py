"""Runs pytest on the files that Bazel hands over: a test file alone would define tests, not run."""

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(["-p", "no:cacheprovider", *sys.argv[1:]]))
