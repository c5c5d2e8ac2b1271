# pytest tests/inspection/test_page.py
"""The page of a prediction in a real browser: pictures are shown, the slider decides, decisions can be had."""

import csv
import io
import json

import numpy as np
import pytest

from tests.chromium import FOUND, Browser
from zsad_bench.data.images import category_of
from zsad_bench.inspection import page, report
from zsad_bench.inspection.decision import calibrate
from zsad_bench.inspection.inspect import Setting, inspect
from zsad_bench.inspection.photos import find
from zsad_bench.inspection.report import Threshold

TITLE = "Brightness: bolts <script>alert(1)</script>"


@pytest.fixture
def out(save, brightness, tmp_path):
    for number in range(6):
        photo = np.full((40, 50), 20)
        photo[5:15, 5:15] = 30 * number + 40
        save(f"{number}'\"#?% é.png", photo)
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    calibration = calibrate(np.linspace(0, 0.4, 19), 0.05, "brightness", {}, {})
    about = {
        "scorer": {"title": "Brightness", "backbone": "none", "name": "bolt"}, "setting": {}, "warning": "never <b>"
    }  # fmt: skip
    items = inspect(find([str(tmp_path / "photos")]).photos, brightness,
                    Setting(category_of("bolt", "object", "industrial")), workers=0)  # fmt: skip
    report.write(tmp_path / "out", items, about, TITLE, Threshold(calibration.threshold, calibration))
    return tmp_path / "out"


def test_no_path_of_this_machine_is_on_the_page(out, tmp_path):
    text = (out / "index.html").read_text()
    assert str(tmp_path) not in text
    assert "broken.png" in text
    assert "<script>alert" not in text


def test_content_cannot_leave_its_element():
    content = {
        "scorer": {"title": "t", "backbone": "</script><script>x", "name": "n"}, "setting": {}, "images": [],
        "unread": [], "notes": [],
    }  # fmt: skip
    text = page.page("t", content)
    assert text.count("</script>") == 2


@pytest.mark.skipif(FOUND is None, reason="no Chromium on this machine")
def test_in_a_browser(out, tmp_path):
    with Browser(tmp_path / "profile") as browser:
        browser.size(1000, 800)
        browser.open((out / "index.html").as_uri())
        assert browser.problems == []
        loaded = browser.run(
            "Promise.all([...document.querySelectorAll('#gallery img')].map((image) => {"
            "image.loading = 'eager'; return image.decode().then(() => image.naturalWidth); }))"
        )
        assert loaded == [50] * 6
        lines = json.loads((out / "predictions.json").read_text())["images"]
        failing = sum(line["decision"] == "fail" for line in lines)
        assert 0 < failing < 6
        assert browser.run("document.getElementById('counts').textContent") == f"{failing} fail · {6 - failing} pass"
        browser.run(
            "(() => { const slider = document.getElementById('slider'); slider.value = 0;"
            "slider.dispatchEvent(new Event('input')); })()"
        )
        assert browser.run("document.getElementById('counts').textContent") == "6 fail · 0 pass"
        # What the button would save, read where the browser would.
        browser.run(
            "(() => { const real = URL.createObjectURL; URL.createObjectURL = (blob) => {"
            "blob.text().then((text) => { window.saved = text; }); return real(blob); };"
            "document.getElementById('download').click(); })()"
        )
        saved = browser.run("new Promise((done) => setTimeout(() => done(window.saved), 200))")
        rows = list(csv.DictReader(io.StringIO(saved)))
        assert [row["image"] for row in rows] == [line["image"] for line in lines]
        assert {row["decision"] for row in rows} == {"fail"}
        assert [float(row["p_value"]) for row in rows] == pytest.approx([line["p_value"] for line in lines])
        browser.run("document.querySelector('#gallery button').click()")
        assert browser.run("document.getElementById('large-name').textContent") == lines[0]["image"]
        assert browser.run("document.querySelectorAll('#pair img').length") == 2
        assert browser.problems == []
        assert all(address.startswith(("file:", "blob:", "data:")) for address in browser.requests)
