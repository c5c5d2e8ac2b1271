"""A screenshot of the page of a prediction, for the documentation.

python -m tests.inspection.page_screenshot predictions/index.html docs/images/predict.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.chromium import Browser, few_colours

WIDTH, HEIGHT = 1280, 860


def main(page: Path, file: Path) -> None:
    """Writes the PNG."""
    with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as browser:
        browser.size(WIDTH, HEIGHT)
        browser.prefers("light")
        browser.open(page.resolve().as_uri())
        browser.run(
            "Promise.all([...document.querySelectorAll('#gallery img')].map((image) => {"
            "image.loading = 'eager'; return image.decode(); })).then(() => true)"
        )
        browser.screenshot(file)
    few_colours(file)
    print(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
