"""Searches for settings: over configs, a process a trial; or Keras-tuner's own, in this process.

Nothing is imported before it is asked for: `--help` needs no TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "hypermodel": ["ClassifierHyperModel"],
        "request": ["MEASURES", "Request", "SearchSettings"],
        "search": ["run_search"],
        "space": ["Choices", "Condition", "Range", "read_space"],
    },
)
