"""The page in a real browser: Debian's chromium, headless."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from scipy.spatial import cKDTree

from clustr_tf.evaluate.report import read_evaluation, write_report

WIDTHS = {"wide": (1280, 800), "phone": (390, 844)}


@pytest.fixture(scope="module")
def folder(write_workdir, tmp_path_factory):
    """Two evaluations, the page of the first and the page of both."""
    folder = tmp_path_factory.mktemp("report")
    evaluations = [
        read_evaluation(write_workdir(folder / name, strength=strength))
        for name, strength in (("plain", 0.12), ("robust", 0.3))
    ]
    write_report(folder / "report.html", evaluations[:1])
    write_report(folder / "comparison.html", evaluations)
    return folder


@pytest.fixture
def opened(browser):
    """Opens a page; at the end nothing may have been asked of a network or told the console."""
    contexts = []

    def open_page(path, size="wide", scheme="light"):
        width, height = WIDTHS[size]
        viewport = {"width": width, "height": height}
        phone = size == "phone"
        context = browser.new_context(
            viewport=viewport, color_scheme=scheme, has_touch=phone, is_mobile=phone
        )
        page = context.new_page()
        told, asked = [], []
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        contexts.append((context, told, asked, path.as_uri()))
        page.goto(path.as_uri())
        _wait_for_charts(page)
        return page

    yield open_page
    for context, told, asked, address in contexts:
        context.close()
        assert told == []
        assert [url for url in asked if not url.startswith("data:")] == [address]


def _wait_for_charts(page):
    page.wait_for_function(
        "() => [...document.querySelectorAll('.chart')]"
        ".every((chart) => !chart.checkVisibility() || chart.querySelector('.main-svg'))"
    )


def _data_values(locator):
    """What <data value=...> elements hold, and how they are shown."""
    found = locator.locator("data").evaluate_all(
        "(elements) => elements.map((element) => [Number(element.value), element.textContent])"
    )
    return [tuple(pair) for pair in found]


def _shown(share):
    return (share, f"{100 * share:.2f}\u202f%")


def _rows(page, caption):
    """The rows of a table by what stands in their first header."""
    rows = page.get_by_role("region", name=caption, exact=True).locator("tbody tr").all()
    return {row.locator("th").text_content(): _data_values(row) for row in rows}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(WIDTHS))
@pytest.mark.parametrize("name", ["report.html", "comparison.html"])
def test_nothing_is_wider_than_the_screen(folder, opened, name, size, scheme):
    page = opened(folder / name, size, scheme)
    for details in page.locator("details > summary").all():
        if details.is_visible():
            details.click()
    _wait_for_charts(page)
    width = WIDTHS[size][0]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for chart in page.locator(".chart:visible .main-svg").all():
        box = chart.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_the_figures_are_those_of_the_json(folder, opened):
    page = opened(folder / "report.html")
    figures = json.loads((folder / "plain" / "robustness.json").read_text())
    assert _data_values(page.locator("h1")) == [_shown(figures["worst_case_accuracy"])]
    expect(page.locator(".lead")).to_contain_text("found by Ensemble")
    attacks = _rows(page, "Accuracy under each attack")
    assert list(attacks.values()) == [
        [_shown(share) for share in (attack["accuracy"], *attack["interval_95"])]
        for attack in figures["attacks"].values()
    ]
    assert _rows(page, "Accuracy of each class") == {
        entry["name"]: [_shown(entry["clean_accuracy"]), _shown(entry["worst_case_accuracy"])]
        for entry in figures["per_class"]
    }
    diagnostics = _rows(page, "Diagnostics")
    assert {name: value for name, [(value, _)] in diagnostics.items()} == {
        entry["name"]: entry["value"] for entry in figures["diagnostics"]
    }
    for summary in page.get_by_text("The numbers", exact=True).all():
        summary.click()
    curves = figures["curve"]["attacks"].values()
    rows = _rows(page, "Accuracy against radius").values()
    for index, (eps, row) in enumerate(zip(figures["curve"]["eps"], rows, strict=True)):
        shares = [s for c in curves for s in (c["accuracy"][index], *c["interval_95"][index])]
        assert row[0][0] == eps
        assert row[1:] == [_shown(share) for share in shares]
    served, *others = read_evaluation(folder / "plain").certificates
    assert len(others) == 1
    proofs = _rows(page, "Classifiers and proofs")
    for certificate in (served, *others):
        curve = certificate.curve("linf")
        rows = _rows(page, f"Certified accuracy: {certificate.title}").values()
        assert [row[0][0] for row in rows] == curve["radius"]
        assert [row[1] for row in rows] == [_shown(share) for share in curve["accuracy"]]
        at_eps = certificate.certified_accuracy(figures["eps"], "linf")
        assert proofs[certificate.title][:2] == [_shown(certificate.clean_accuracy), _shown(at_eps)]


def test_the_drawn_curves_are_those_of_the_json(folder, opened):
    page = opened(folder / "report.html")
    figures = json.loads((folder / "plain" / "robustness.json").read_text())
    drawn = page.locator(".chart").first.evaluate(
        "(chart) => Object.fromEntries(chart.data.map(({name, x, y}) => [name, [x, y]]))"
    )
    curve = figures["curve"]
    for name, shown in (("pgd", "PGD"), ("ensemble", "Ensemble")):
        assert drawn[shown] == [curve["eps"], curve["attacks"][name]["accuracy"]]
    # What the eye sees: a mark for each value, and a line for each series, band and proof.
    seen = page.locator(".chart").first.locator(".scatterlayer")
    assert seen.locator(".point").count() == len(curve["eps"]) * len(curve["attacks"])
    assert seen.locator(".js-line").count() == 2 * len(curve["attacks"]) + 1


@pytest.mark.parametrize("size", list(WIDTHS))
def test_pointing_at_the_map_shows_the_image(folder, opened, size):
    page = opened(folder / "report.html", size)
    with np.load(folder / "plain" / "robustness.npz") as archive:
        images, points = archive["map_images"], archive["map_points"].astype(float)
        labels = archive["labels"][archive["map_rows"]]
    # The loneliest one cannot be mistaken for its neighbour, whatever the size of the screen.
    index = int(np.argmax(cKDTree(points).query(points, 2)[0][:, 1]))
    chart = page.locator(".map .chart")
    _scroll_to(chart)
    tooltip = page.locator(".tooltip")
    expect(tooltip).to_be_hidden()
    x, y = chart.evaluate(
        """(chart, [x, y]) => {
          const { xaxis, yaxis } = chart._fullLayout;
          const box = chart.getBoundingClientRect();
          const left = box.left + xaxis._offset + xaxis.d2p(x);
          return [left, box.top + yaxis._offset + yaxis.d2p(y)];
        }""",
        points[index].tolist(),
    )
    point = page.touchscreen.tap if size == "phone" else page.mouse.move
    point(x, y)
    expect(tooltip).to_be_visible()
    expect(tooltip).to_contain_text(f"{labels[index]}:")
    box = tooltip.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= WIDTHS[size][0]
    # The picture on the screen against the very image: 8x8 grey levels of big square pixels.
    picture = tooltip.locator("div")
    seen = _grey_levels(picture.screenshot())
    expected = images[index, :, :, 0]
    assert np.abs(seen.astype(int) - expected).max() <= 3
    point(1, 1)
    expect(tooltip).to_be_hidden()


def _scroll_to(locator):
    """And waits for the event of it, sent before the next frame: it hides what is shown."""
    locator.scroll_into_view_if_needed()
    locator.page.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def _grey_levels(screenshot):
    """The middles of 8x8 equal parts of a PNG."""
    picture = np.asarray(Image.open(io.BytesIO(screenshot)).convert("L"))
    rows, columns = (((np.arange(8) + 0.5) * size / 8).astype(int) for size in picture.shape)
    return picture[np.ix_(rows, columns)]


def test_light_and_dark(folder, opened):
    """The charts follow when the system changes its mind."""
    page = opened(folder / "report.html", scheme="light")

    def colours():
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        text = page.locator(".chart .xtick text").first
        return ground, text.evaluate("(element) => getComputedStyle(element).fill")

    assert colours() == ("rgb(252, 252, 251)", "rgb(27, 32, 38)")
    page.emulate_media(color_scheme="dark")
    expect(page.locator(".chart .xtick text").first).to_have_css("fill", "rgb(231, 233, 236)")
    assert colours()[0] == "rgb(20, 23, 27)"


def test_charts_follow_the_width(folder, opened):
    page = opened(folder / "report.html")
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator(".chart .main-svg").first).to_have_attribute("width", "350")


def test_a_comparison_ranks_and_opens_a_model_by_its_link(folder, opened):
    page = opened(folder / "comparison.html")
    figures = {
        name: json.loads((folder / name / "robustness.json").read_text())
        for name in ("robust", "plain")
    }
    ranks = _rows(page, "Ranking by worst-case accuracy")
    assert list(ranks) == ["robust", "plain"]
    for name, row in ranks.items():
        worst_case = figures[name]["worst_case_accuracy"]
        assert row[0] == _shown(worst_case)
    assert figures["robust"]["worst_case_accuracy"] > figures["plain"]["worst_case_accuracy"]
    expect(page.locator("#model-2 .facts")).to_be_hidden()
    page.get_by_role("link", name="plain").click()
    expect(page.locator("#model-2 .facts")).to_be_visible()
    expect(page.locator("#model-2 .map .main-svg").first).to_be_visible()


def test_the_page_can_reach_nothing(browser, folder):
    """Even a script of the page itself is refused a connection, and no other script runs."""
    page = browser.new_page()
    page.goto((folder / "report.html").as_uri())
    refused = page.evaluate(
        """async () => {
          const refused = [];
          addEventListener("securitypolicyviolation", (event) =>
            refused.push([event.effectiveDirective, event.blockedURI]),
          );
          await fetch("https://example.org/").catch(() => {});
          const image = document.createElement("img");
          image.src = "https://example.org/x.png";
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(image, script);
          await new Promise((resolve) => (image.onerror = resolve));
          return refused;
        }"""
    )
    assert sorted(map(tuple, refused)) == [
        ("connect-src", "https://example.org/"),
        ("img-src", "https://example.org/x.png"),
        ("script-src-elem", "inline"),
    ]
    assert page.evaluate("window.ran") is None
    page.close()
