# pytest tests/inspection/test_report.py
"""The folder of a prediction: complete or not there, and its numbers the same in every file."""

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image

from zsad_bench.data.images import category_of
from zsad_bench.errors import DatasetError, UsageError
from zsad_bench.inspection import report
from zsad_bench.inspection.decision import calibrate
from zsad_bench.inspection.inspect import Setting, inspect
from zsad_bench.inspection.photos import find
from zsad_bench.inspection.report import Threshold

ABOUT = {"scorer": {"title": "Brightness", "backbone": "none", "name": "bolt"}, "setting": {}, "warning": None}


@pytest.fixture
def written(save, brightness, tmp_path):
    """written(**options of write): the folder of a prediction of three photos, one of which cannot be read."""
    save("dark.png", np.full((40, 50), 20))
    light = np.full((64, 64), 20)
    light[10:20, 10:20] = 200
    save("deep/light & <b>.png", light)
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")

    def write(**options):
        photos = find([str(tmp_path / "photos")]).photos
        items = inspect(photos, brightness, Setting(category_of("bolt", "object", "industrial")), workers=0)
        return report.write(tmp_path / "out", items, ABOUT, "Brightness: bolts", **options)

    return write


def test_every_file_says_the_same(written, tmp_path):
    calibration = calibrate(np.linspace(0, 0.2, 19), 0.05, "brightness", {}, {})
    found = written(threshold=Threshold(calibration.threshold, calibration))
    out = tmp_path / "out"
    content = json.loads((out / "predictions.json").read_text())
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["deep/light & <b>.png", "dark.png"]
    assert [line.image for line in found.lines] == [row["image"] for row in rows[:2]] == names
    assert [image["image"] for image in content["images"]] == names
    for line, row, image in zip(found.lines, rows, content["images"], strict=False):
        assert float(row["score"]) == line.score == image["score"]
        assert row["decision"] == line.decision == image["decision"]
        assert float(row["p_value"]) == pytest.approx(image["p_value"], rel=1e-5)
        assert all((out / path).is_file() for path in line.files.values())
    assert [row["decision"] for row in rows] == ["fail", "pass", ""]
    assert rows[2]["image"] == "broken.png"
    assert "broken.png" in rows[2]["error"]
    assert [each["image"] for each in content["unread"]] == ["broken.png"]
    assert sorted(path.name for path in out.iterdir()) == [
        "index.html", "overlays", "photos", "predictions.csv", "predictions.json", "sheet.png",
    ]  # fmt: skip


def test_maps_have_the_size_of_their_photos_and_one_scale(written, tmp_path):
    lines = written(maps="npy").lines
    arrays = {line.image: np.load(tmp_path / "out" / line.files["map"]) for line in lines}
    lines = written(maps="png16").lines
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    low, high = content["png16_range"]
    for line in lines:
        assert arrays[line.image].shape == (line.height, line.width)
        with Image.open(tmp_path / "out" / line.files["map"]) as picture:
            assert picture.mode == "I;16"
            values = low + np.asarray(picture, float) / 65535 * (high - low)
        np.testing.assert_allclose(values, arrays[line.image], atol=(high - low) / 65535)
    assert not (tmp_path / "out" / "maps" / "dark.png.npy").exists()  # of the run before


def test_a_new_prediction_replaces_the_old_one_and_nothing_else(written, tmp_path):
    written()
    (tmp_path / "out" / "my_notes.txt").write_text("mine")
    (tmp_path / "photos" / "dark.png").unlink()
    written()
    assert (tmp_path / "out" / "my_notes.txt").read_text() == "mine"
    assert not (tmp_path / "out" / "photos" / "dark.png.jpg").exists()
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(content["images"]) == 1


def test_a_folder_of_other_files_is_left_alone(written, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "holiday.txt").write_text("mine")
    with pytest.raises(UsageError, match="it holds other files"):
        written()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["holiday.txt"]


def test_a_failure_leaves_the_earlier_prediction_whole(written, tmp_path):
    written()
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}

    def failing():
        raise DatasetError("a disk went away")
        yield

    with pytest.raises(DatasetError, match="went away"):
        report.write(tmp_path / "out", failing(), ABOUT, "Brightness")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_a_name_that_is_not_utf8_goes_all_the_way(written, tmp_path):
    odd = os.fsdecode(b"caf\xe9.png")
    (tmp_path / "photos" / "dark.png").rename(tmp_path / "photos" / odd)
    lines = written().lines
    out = tmp_path / "out"
    assert odd in [line.image for line in lines]
    assert all((out / path).is_file() for line in lines for path in line.files.values())
    assert b"caf\xe9.png," in (out / "predictions.csv").read_bytes()
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "caf?.png" in page
    assert "photos/caf%E9.png.jpg" in page


def test_what_a_killed_run_left_is_cleared(written, tmp_path):
    left = tmp_path / "out" / ".predictions-abc"
    left.mkdir(parents=True)
    (left / "half.png").write_bytes(b"x")
    written()
    assert not left.exists()


def test_without_maps_there_are_photos_and_scores(save, tmp_path, brightness):
    save("a.png", np.full((40, 50), 20))
    brightness.maps = False
    items = inspect(find([str(tmp_path / "photos")]).photos, brightness,
                    Setting(category_of("bolt", "object", "industrial")), workers=0)  # fmt: skip
    found = report.write(tmp_path / "out", items, ABOUT, "Brightness")
    assert found.colours is None
    assert set(found.lines[0].files) == {"photo"}
    assert (tmp_path / "out" / "sheet.png").is_file()
