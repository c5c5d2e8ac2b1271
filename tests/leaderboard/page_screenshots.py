"""Screenshots of a page for the documentation.

python -m tests.leaderboard.page_screenshots leaderboards/demo/index.html docs/images
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.chromium import Browser, few_colours

# name -> width, height, colour scheme, part of the address after "#", what the view starts with
VIEWS = {
    "page_light": (1280, 900, "light", "", "body"),
    "page_dark": (1280, 1020, "dark", "metric=pixel_aupro", "#matrix"),
    "page_gallery": (1280, 860, "light", "data=demo_objects&kind=worst", "#gallery"),
    "page_phone": (390, 844, "light", "", "body"),
}


def main(page: Path, folder: Path) -> None:
    """Writes one PNG a view."""
    with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as browser:
        for name, (width, height, scheme, view, top) in VIEWS.items():
            browser.size(width, height, phone=width < 640)
            browser.prefers(scheme)
            browser.open(f"{page.resolve().as_uri()}#{view}")
            browser.run(f"document.querySelector('{top}').scrollIntoView()")
            file = folder / f"{name}.png"
            browser.screenshot(file)
            few_colours(file)
            print(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
