"""The page of licences has every package that is installed, and what it remarks on."""

import re

from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "licences.md"
ROW = re.compile(r"^\| (\w[\w.-]*) \| ([\w.+!-]+) \| (.+) \|$", re.MULTILINE)
PIN = re.compile(r"^([\w.-]+)(?:\[[\w,-]+\])?==([\w.+!-]+)", re.MULTILINE)


def _plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def _rows():
    return [row for row in ROW.findall(PAGE.read_text()) if row[0] != "package"]


def test_every_locked_package_is_there_with_its_version_and_nothing_else():
    locked = PIN.findall((ROOT / "requirements-lock.txt").read_text())
    listed = {_plain(name): version for name, version, _ in _rows()}
    assert listed == {_plain(name): version for name, version in locked}


def test_packages_whose_terms_go_beyond_naming_the_authors_are_remarked_on():
    remarks = PAGE.read_text().partition("\n- **")[2].partition("| package |")[0]
    strict = re.compile("GPL|General Public|MPL|Mozilla|UNKNOWN")
    found = {name for name, _, licence in _rows() if strict.search(licence)}
    assert found == set(re.findall(r"`([\w.-]+)`", remarks))
