"""Docstrings as griffe does not know them: `Example:`, and comments behind a field."""

from typing import Any

import griffe


class ExampleSections(griffe.Extension):
    """Renames the section in memory; the sources keep Google's singular."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("Example:\n", "Examples:\n")


class FieldComments(griffe.Extension):
    """What stands behind a setting on its line is what there is to say of it."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Called for every attribute."""
        in_class = attr.parent is not None and attr.parent.is_class
        if attr.docstring or not in_class or attr.annotation is None or not attr.lines:
            return
        _, mark, comment = attr.lines[-1].partition("  # ")
        if mark:
            attr.docstring = griffe.Docstring(comment.strip(), parent=attr)
