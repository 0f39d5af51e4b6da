"""Lets the site show the docstrings' `Example:` as code: griffe knows only `Examples:`."""

from typing import Any

import griffe


class ExampleSections(griffe.Extension):
    """Renames the section in memory; the sources keep Google's singular."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("Example:\n", "Examples:\n")
