"""Pictures of a report for the documentation.

    python docs/screenshots.py runs/digits/report.html

writes docs/report-1280.png, docs/report-390.png and, for README.md, the top of the first as
docs/images/report.png; it needs Chromium (`apt-get install chromium`).
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
_WIDE, _TOP = 1280, 1660  # down to the curves


def take_screenshots(report: Path, folder: Path) -> None:
    """Takes the whole page on a wide screen and on a phone.

    Args:
        report: the page.
        folder: where the pictures go.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        for width, height in ((_WIDE, 800), (390, 844)):
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme="light"
            )
            page.goto(report.resolve().as_uri())
            page.wait_for_function(
                "() => [...document.querySelectorAll('.chart')]"
                ".every((chart) => !chart.checkVisibility() || chart.querySelector('.main-svg'))"
            )
            page.screenshot(path=folder / f"report-{width}.png", full_page=True)
            if width == _WIDE:
                top = {"x": 0, "y": 0, "width": width, "height": _TOP}
                page.screenshot(path=folder / "images" / "report.png", full_page=True, clip=top)
        browser.close()


if __name__ == "__main__":
    take_screenshots(Path(sys.argv[1]), Path(__file__).parent)
