r"""Turns the formulas that arithmatex marks, \(...\) and \[...\], into MathML: no script needed."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Called by mkdocs with every page's HTML."""
    content = _INLINE.sub(lambda formula: convert(html.unescape(formula[1])), content)
    return _BLOCK.sub(
        lambda formula: convert(html.unescape(formula[1]).strip(), display="block"), content
    )
