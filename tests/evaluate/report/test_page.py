"""The page as a file: complete, self-contained, names stay text; its order and its pictures."""

import base64
import io
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustr_tf.evaluate.report import Evaluation, read_evaluation, write_report
from clustr_tf.evaluate.report.page import (
    by_norm,
    data_uri,
    difference,
    differing_conditions,
    ranking,
    thumbnail_sheet,
)

ROOT = Path(__file__).parents[3]
INJECTION = "<script>alert('\"&x')</script>"


def _body(path):
    """The page without the scripts, which are not text."""
    page = path.read_text(encoding="utf-8")
    return re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)


def test_names_from_files_are_escaped_everywhere(write_workdir, tmp_path):
    def edit(figures, arrays):
        figures["classes"] = [f"{INJECTION}{index}" for index in range(10)]
        for key in ("command", "model", "data", "worst_case_attack"):
            figures[key] = INJECTION
        figures["attacks"][INJECTION] = figures["attacks"].pop("ensemble")
        figures["masking_gap"] = None
        figures["per_class"][0]["name"] = INJECTION
        figures["diagnostics"][-1].update(name=INJECTION, meaning=INJECTION)
        figures["config"] = {INJECTION: INJECTION}
        figures["versions"] = {INJECTION: INJECTION}

    folder = write_workdir(tmp_path / "<script>alert(1)<", edit)
    certificates = json.loads((folder / "certificates.json").read_text())
    certificates["proofs"][0]["title"] = INJECTION
    (folder / "certificates.json").write_text(json.dumps(certificates))
    evaluation = read_evaluation(folder)
    for pages in ([evaluation], [evaluation, evaluation]):
        write_report(tmp_path / "report.html", pages)
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(&#39;" in page


def test_the_page_names_no_other_address(write_workdir, tmp_path):
    write_report(tmp_path / "report.html", [read_evaluation(write_workdir(tmp_path))])
    body = _body(tmp_path / "report.html")
    assert not re.search(r"(src|href)=\"(?!data:|#)", body)
    assert not re.search(r"url\((?!\"data:)", body)
    assert "http" not in body.replace("http-equiv", "")
    assert "default-src 'none'" in body
    assert (tmp_path / "report.html").stat().st_size < 6e6


def test_parts_that_were_not_measured_say_how_to_get_them(write_workdir, tmp_path):
    def edit(figures, arrays):
        for key in ("curve", "masking_gap", "per_class", "diagnostics"):
            del figures[key]
        for name in [name for name in arrays if name.startswith(("map", "gallery"))]:
            del arrays[name]

    folder = write_workdir(tmp_path / "a run", edit, certified=False)
    write_report(tmp_path / "report.html", [read_evaluation(folder)])
    body = _body(tmp_path / "report.html")
    assert body.count('class="missing"') == 7
    assert f"clustr_tf.certify --workdir=&#39;{folder}&#39;" in body
    assert "--attacks=clean,pgd,pgd_paper,ensemble" in body


def test_a_model_that_nothing_attacked_has_no_worst_case(write_workdir, tmp_path):
    def edit(figures, arrays):
        figures["attacks"] = {"clean": figures["attacks"]["clean"]}
        for key in ("accuracy", "interval_95", "attack"):
            figures[f"worst_case_{key}"] = None

    write_report(tmp_path / "report.html", [read_evaluation(write_workdir(tmp_path, edit))])
    assert "Worst-case accuracy unknown" in _body(tmp_path / "report.html")


@pytest.mark.parametrize("failed", [True, False])
def test_a_failed_diagnostic_warns_at_the_top(write_workdir, tmp_path, failed):
    def edit(figures, arrays):
        figures["diagnostics"][-1]["passed"] = not failed

    write_report(tmp_path / "report.html", [read_evaluation(write_workdir(tmp_path, edit))])
    body = _body(tmp_path / "report.html")
    assert ("Do not trust these figures yet" in body.partition("<section>")[0]) == failed


def test_one_sheet_of_thumbnails_serves_all_of_a_comparison(write_workdir, tmp_path):
    evaluations = [
        read_evaluation(write_workdir(tmp_path / str(strength), strength=strength))
        for strength in (0.1, 0.2, 0.3)
    ]
    write_report(tmp_path / "page.html", evaluations)
    body = _body(tmp_path / "page.html")
    assert body.count('data-sheet="0"') == 3
    assert ".sheet-1 " not in body


def test_folders_of_one_name_are_told_apart(write_workdir, tmp_path):
    folders = [write_workdir(tmp_path / parent / "run") for parent in ("a", "b")]
    write_report(tmp_path / "page.html", [read_evaluation(folder) for folder in folders])
    body = _body(tmp_path / "page.html")
    assert all(f">{folder}</a>" in body for folder in folders)


def test_nothing_to_report_is_refused_and_the_old_page_stays(tmp_path):
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(ValueError, match="evaluations must hold at least one"):
        write_report(tmp_path / "report.html", [])
    assert (tmp_path / "report.html").read_text() == "old"


def test_a_wheel_will_contain_the_templates():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    package = ROOT / "clustr_tf/evaluate/report"
    patterns = settings["tool"]["setuptools"]["package-data"]["clustr_tf.evaluate.report"]
    packed = {path for pattern in patterns for path in package.glob(pattern)}
    assert packed == {
        path for path in package.rglob("*") if path.suffix in (".html", ".css", ".js")
    }
    assert len(packed) >= 3


def _evaluation(accuracy, **changes):
    figures = {"data": "digits", "examples": 10, "norm": "linf", "eps": 0.1, "attacks": {"pgd": {}}}
    return Evaluation(Path(), {**figures, "worst_case_accuracy": accuracy, **changes}, {})


def test_the_highest_worst_case_comes_first_and_unknown_last():
    unknown, weak, broken, robust = map(_evaluation, (None, 0.1, 0.0, 0.9))
    assert ranking([unknown, weak, broken, robust]) == [robust, weak, broken, unknown]


def test_what_differs_is_named():
    one = _evaluation(0.5)
    assert differing_conditions([one, _evaluation(0.1)]) == []
    other = _evaluation(0.1, eps=0.2, data="cifar10", attacks={"clean": {}})
    assert differing_conditions([one, other]) == ["data", "eps", "attacks"]


def test_norms_are_kept_apart():
    one, two, three = _evaluation(0.5), _evaluation(0.5, norm="l2"), _evaluation(0.1)
    assert by_norm([one, two, three], "abc") == [([one, three], ["a", "c"]), ([two], ["b"])]


def _decoded(uri):
    kind, encoded = uri.split(";base64,")
    assert kind in ("data:image/png", "data:image/webp")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_small_image_is_kept_exactly(channels):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels)).astype(np.uint8)
    np.testing.assert_array_equal(_decoded(data_uri(image)).reshape(image.shape), image)


def test_floats_become_grey_levels():
    """0 -> 0, 0.5 -> 127.5, which rounds to the even 128, 1 -> 255; beyond is cut off."""
    image = np.array([[[0.0], [0.5], [1.0], [1.5], [-1.0]]], np.float32)
    assert _decoded(data_uri(image)).ravel().tolist() == [0, 128, 255, 255, 0]


def test_a_photograph_is_compressed():
    noise = np.random.default_rng(0).random((200, 200, 3))
    assert data_uri(noise).startswith("data:image/webp")
    assert _decoded(data_uri(noise)).shape == (200, 200, 3)


def test_changes_share_one_scale():
    """The largest change, -0.2, becomes 0; half of it upwards is 0.75; none is grey."""
    clean = np.full((2, 1, 1, 1), 0.5)
    changed = clean + np.array([-0.2, 0.1]).reshape(2, 1, 1, 1)
    assert difference(clean, changed).ravel() == pytest.approx([0.0, 0.75])
    assert difference(clean, clean).ravel().tolist() == [0.5, 0.5]


@pytest.mark.parametrize("count", [1, 2, 7, 9])
def test_a_thumbnail_lies_where_the_page_looks_for_it(count):
    images = np.zeros((count, 8, 6, 1), np.uint8) + np.arange(count, dtype=np.uint8).reshape(
        -1, 1, 1, 1
    )
    sheet = thumbnail_sheet(images)
    picture = _decoded(sheet.uri)
    assert picture.shape == (sheet.rows * 8, sheet.columns * 6)
    assert sheet.height == pytest.approx(8 / 6)
    for index in range(count):
        row, column = divmod(index, sheet.columns)
        tile = picture[row * 8 : row * 8 + 8, column * 6 : column * 6 + 6]
        assert np.all(tile == index)


def test_thumbnails_of_large_images_are_small():
    sheet = thumbnail_sheet(np.zeros((4, 64, 128, 3), np.uint8))
    assert _decoded(sheet.uri).shape == (2 * 16, 2 * 32, 3)
