"""What the documentation says that can be checked: its code, its commands, its links."""

import re
import shlex
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

_COMMAND = re.compile(r"python[0-9.]*$|pip$|clustr-|\.ci/")
ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


class Block(NamedTuple):
    """A fenced or indented block: its language ("" if indented), text and first line."""

    language: str
    text: str
    line: int


def name(page):
    return page.relative_to(ROOT).as_posix()


@cache
def _tokens(page):
    return MarkdownIt().enable("table").parse(page.read_text())


def blocks(page):
    return [
        Block(token.info, token.content, token.map[0] + (token.type == "fence"))
        for token in _tokens(page)
        if token.type in ("fence", "code_block")
    ]


def write_modules(page, folder):
    """The Python blocks whose first line is a comment with a file's name, as such files."""
    for block in blocks(page):
        file = re.match(r"# (\w+\.py)\n", block.text)
        if block.language == "python" and file:
            (folder / file[1]).write_text(block.text)


def _children(page, kind):
    inline = [token for token in _tokens(page) if token.type == "inline"]
    return [child for token in inline for child in token.children if child.type == kind]


def code_spans(page):
    return [child.content for child in _children(page, "code_inline")]


def links(page):
    addresses = [child.attrs["href"] for child in _children(page, "link_open")]
    return addresses + [child.attrs["src"] for child in _children(page, "image")]


def commands(page):
    """The words of every shell command, in blocks and in running text."""
    shell = [block.text for block in blocks(page) if block.language in ("bash", "")]
    lines = [line for text in shell for line in text.replace("\\\n", " ").splitlines()]
    lines += [span for span in code_spans(page) if " " in span]
    # What may be left out is in brackets, and a bar means "or".
    lines = [re.sub(r"(?<![.\w])\[(--[^]]*)\]", r"\1", line) for line in lines]
    lines = [re.sub(r"(=[^ |\\]*)\\?\|[^ ]*", r"\1", line) for line in lines]
    parts = [part for line in lines if _has_command(line) for part in _split(line)]
    return [part for part in parts if _COMMAND.match(part[0])]


def _has_command(line):
    return any(_COMMAND.match(word) for word in line.split())


def _split(line):
    """The words of each of the commands that a line joins by && or ;."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    grouped = groupby(words, key=lambda word: word in ("&&", ";"))
    return [list(group) for joint, group in grouped if not joint]


def module_commands(page):
    """(module, arguments) of every `python -m`."""
    words = [command for command in commands(page) if command[1:2] == ["-m"]]
    return [(command[2], tuple(command[3:])) for command in words]
