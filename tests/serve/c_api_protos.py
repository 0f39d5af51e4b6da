"""TensorFlow's generated protocol buffers without TensorFlow.

`tensorflow/__init__.py` starts the whole of Python's TensorFlow. A bare package of that name, whose
path is that of the installed one, lets `tensorflow.core.protobuf.*_pb2` be imported alone.
"""

import importlib.util
import sys
import types
from pathlib import Path


def installed_tensorflow() -> Path:
    """The folder of the installed package, found without importing it."""
    module = sys.modules.get("tensorflow")
    if module is not None:
        return Path(module.__path__[0])
    (folder,) = importlib.util.find_spec("tensorflow").submodule_search_locations
    return Path(folder)


def without_tensorflow() -> None:
    """Makes `tensorflow` a bare package in this process, unless something is there already."""
    folder = installed_tensorflow()
    if "tensorflow" not in sys.modules:
        package = types.ModuleType("tensorflow")
        package.__path__ = [str(folder)]
        sys.modules["tensorflow"] = package
