"""The documentation's code runs, its links lead somewhere, its figures come from the results."""

import re

import pytest
import yaml

from tests.docs.pages import PAGES, ROOT, blocks, links, name

LANGUAGES = {"python", "bash", "yaml", "text", "mermaid", ""}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_is_of_a_kind_that_is_checked(page):
    assert {block.language for block in blocks(page)} <= LANGUAGES


# The examples of CONTRIBUTING.md register things: test_contributing.py runs them.
WITH_PYTHON = [
    page
    for page in PAGES
    if page.name != "CONTRIBUTING.md" and any(block.language == "python" for block in blocks(page))
]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name)
def test_python_blocks_run(page):
    namespace = {}
    for block in blocks(page):
        if block.language == "python":
            # Empty lines first, so that a traceback names the line of the page.
            code = "\n" * block.line + block.text
            exec(compile(code, page, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_yaml_blocks_parse(page):
    for block in blocks(page):
        if block.language == "yaml":
            assert all(yaml.safe_load_all(block.text))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_to_files_lead_somewhere(page):
    files = [link.split("#")[0] for link in links(page) if not re.match(r"https?:|#", link)]
    assert not [file for file in files if not (page.parent / file).exists()]


@pytest.mark.parametrize("page", ["recipes.md", "evaluating.md"])
def test_measured_shares_stand_in_the_results(page):
    results = (ROOT / "docs" / "results.md").read_text()
    text = (ROOT / "docs" / page).read_text()
    # What RobustBench lists and what the text supposes was not measured here.
    elsewhere = {"74.04 %", "0.00 %", "0 %", "100 %", "90 %", "95 %", "64 %", "97 %", "94 %"}
    shares = set(re.findall(r"\d+(?:\.\d+)? %", text)) - elsewhere
    assert shares
    assert not {share for share in shares if share.removesuffix(" %") not in results}
