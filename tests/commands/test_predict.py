# pytest tests/commands/test_predict.py
"""Photos of one's own: scored, decided by a threshold from good ones, and everything wrong in one line."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from zsad_bench import api
from zsad_bench.inspection.opening import demo_checkpoint


@pytest.fixture
def photos(tmp_path):
    """Photos of odd sizes, modes and names, and one that is damaged."""
    folder = tmp_path / "my parts"
    draw = np.random.default_rng(0)
    folder.mkdir()
    for name, shape, mode in (
        ("wide.png", (30, 90), "L"), ("tall é.jpg", (120, 40, 3), "RGB"), ("see-through.png", (50, 50, 4), "RGBA"),
        ("line 1.bmp", (64, 64, 3), "RGB"),
    ):  # fmt: skip
        Image.fromarray(draw.integers(0, 255, shape, np.uint8), mode).save(folder / name)
    Image.fromarray(draw.integers(0, 2**16, (40, 60), np.uint16)).save(folder / "deep.tif")
    (folder / "broken.jpg").write_bytes((folder / "tall é.jpg").read_bytes()[:300])
    return folder


@pytest.fixture
def good(tmp_path):
    folder = tmp_path / "good"
    folder.mkdir()
    draw = np.random.default_rng(1)
    for number in range(19):
        Image.fromarray(draw.integers(100, 130, (48, 48, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


def scores(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_odd_photos_are_scored_as_from_python_and_a_damaged_one_is_named(zsad, photos, tmp_path):
    said = zsad("predict", str(photos), "--method", "clip", "--name", "metal bolt", "--maps", "npy")
    assert said.code == 1
    assert said.out.count("not scored: ") == 1
    assert "broken.jpg" in said.out
    assert "has never seen a photograph" in said.out
    assert "1 image is 16-bit grey" in said.out
    rows = scores(tmp_path / "predictions")
    assert set(rows) == {path.name for path in photos.iterdir()}
    read = [path for path in sorted(photos.iterdir()) if path.name != "broken.jpg"]
    method = api.load_method("clip", backbone="tiny")
    expected = api.predict(method, read, name="metal bolt", full_size=True)
    for path, score, map_ in zip(read, expected.scores, expected.maps, strict=True):
        assert float(rows[path.name]["score"]) == pytest.approx(float(score), abs=1e-5)
        saved = np.load(tmp_path / "predictions" / "maps" / f"{path.name}.npy")
        np.testing.assert_allclose(saved, map_, atol=1e-5)


def test_from_good_photos_to_decisions(zsad, good, photos, tmp_path):
    (photos / "broken.jpg").unlink()
    method = ("--method", "clip", "--name", "plate")
    said = zsad("calibrate", str(good), *method, "--false-alarm", "5%")
    assert said.code == 0, said.err
    assert "5% fail on average" in said.out
    calibration = json.loads((tmp_path / "clip.calibration.json").read_text())
    assert len(calibration["scores"]) == 19
    said = zsad("predict", str(good), str(photos), *method, "--threshold", "clip.calibration.json")
    assert said.code == 0, said.err
    rows = scores(tmp_path / "predictions")
    # Of the images it was made from none is above the largest score, whatever the method is.
    assert [rows[f"{number}.png"]["decision"] for number in range(19)] == ["pass"] * 19
    for row in rows.values():
        usual = sum(score >= float(row["score"]) for score in calibration["scores"])
        assert float(row["p_value"]) == pytest.approx((1 + usual) / 20, rel=1e-5)
        assert (row["decision"] == "fail") == (float(row["p_value"]) <= 0.05)


def test_a_threshold_is_of_one_method_and_one_setting(zsad, refused, good):
    assert zsad("calibrate", str(good), "--method", "clip", "--name", "plate", "--out", "t.json").code == 0
    asked = ("predict", str(good), "--threshold", "t.json", "--name")
    assert "calibrated with name plate, here bolt" in refused(2, *asked, "bolt", "--method", "clip")
    assert "is of CLIP with other weights" in refused(2, *asked, "plate", "--method", "winclip")
    assert "is of CLIP with other" in refused(2, *asked, "plate", "--method", "clip", "--set", "temperature=0.5")


def test_tiles_and_a_region(zsad, refused, photos, tmp_path):
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(tmp_path / "roi.png")
    asked = ("predict", str(photos / "line 1.bmp"), "--method", "clip")
    said = zsad(*asked, "--tiles", "--tile-size", "32", "--roi", "roi.png")
    assert said.code == 0, said.err
    content = json.loads((tmp_path / "predictions" / "predictions.json").read_text())
    assert content["images"][0]["tiles"] == 9
    assert content["setting"]["tile_size"] == 32
    assert "go with --tiles" in refused(2, *asked, "--tile-size", "32")
    assert "no such file" in refused(2, *asked, "--roi", "none.png")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in api.list_methods() if demo_checkpoint(name)])
def test_methods_that_train_have_a_checkpoint_for_the_tiny_clip(zsad, photos, tmp_path, name):
    (photos / "broken.jpg").unlink()
    said = zsad("predict", str(photos), "--method", name, "--backbone", "tiny")
    assert said.code == 0, said.err
    content = json.loads((tmp_path / "predictions" / "predictions.json").read_text())
    assert content["scorer"]["checkpoint"] == "shipped"


def test_there_is_a_checkpoint_for_the_tiny_clip():
    assert [name for name in api.list_methods() if demo_checkpoint(name)], "no trained method works out of the box"


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (["none"], "none: no such file or folder; give images, or folders of images"),
        (["empty"], "empty: no image found"),
        (["good", "--method", "clp"], "unknown method 'clp'"),
        (["good"], "give --method NAME, --checkpoint FILE or --onnx FILE"),
        (["good", "--checkpoint", "none.safetensors"], "no such file"),
        (["good", "--method", "coop", "--set", "lr=0.1"], "coop learns from auxiliary data; give --checkpoint FILE"),
        (["good", "--method", "clip", "--threshold", "t.json"], "t.json: no such file; write one with"),
        (["good", "--method", "clip", "--out", "good"], "it holds other files"),
        (["good", "--method", "clip", "--device", "cuda"], "torch finds no GPU here"),
        (["good", "--method", "clip", "--name", "??"], "is not a name to prompt with"),
        (["good", "--method", "clip", "--name", ""], "--name: empty; give TEXT, or leave it out"),
        (["good", "--method", "clip", "--roi", ""], "--roi: empty; give MASK, or leave it out"),
        (["", "--method", "clip"], "IMAGE_OR_FOLDER…: empty; give IMAGE_OR_FOLDER…"),
        (["good", "--method", "clip", "--threshold", "nan"], "--threshold nan: expected a finite number, or a file"),
        (
            ["good", "--method", "clip", "--tiles", "--tile-overlap", "95"],
            "--tile-overlap 95: expected 0 to 90, in per",
        ),
        (["good", "--onnx", "it.onnx", "--precision", "bf16"], "leave out --precision"),
    ],
)
def test_what_cannot_be_is_one_line(refused, good, tmp_path, asked, line, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "empty").mkdir()
    code = 1 if "--checkpoint" in asked else 2
    assert line in refused(code, "predict", *asked)
    assert not (tmp_path / "predictions").exists()


def test_when_no_photo_can_be_read_there_is_no_result(refused, photos, tmp_path):
    for path in photos.iterdir():
        if path.name != "broken.jpg":
            path.unlink()
    for asked in ("predict", "calibrate --false-alarm 50%"):
        assert "none of the 1 photos can be scored; the first: " in refused(
            1, *asked.split(), str(photos), "--method", "clip"
        )
    assert not (tmp_path / "predictions").exists(), "an empty folder is left"


def test_a_photo_without_content_is_a_result_too(zsad, good, tmp_path):
    """Whoever sorts parts by the table or by the exit code has to meet it."""
    (good / "none.png").touch()
    (good / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    said = zsad("predict", str(good), "--method", "clip")
    assert said.code == 1
    content = json.loads((tmp_path / "predictions" / "predictions.json").read_text())
    assert [each["image"] for each in content["unread"]] == ["none.png", "phone.heic"]
    table = (tmp_path / "predictions" / "predictions.csv").read_text()
    assert "none.png" in table
    assert "phone.heic" in table
    said = zsad("calibrate", str(good), "--method", "clip", "--false-alarm", "4.6%")
    assert (said.code, "2 of 21 photos cannot be scored; --false-alarm 4.6%: 19 images allow" in said.err) == (1, True)


def test_too_few_good_photos_are_refused_before_anything_is_loaded(refused, good):
    line = refused(2, "calibrate", str(good), "--method", "clip", "--false-alarm", "1%")
    assert "19 images allow no rate below 5%; give at least 99 good images, or a rate of 5% or more" in line
    assert "expected a share of good photos" in refused(2, "calibrate", str(good), "--false-alarm", "few")
    assert "found 100%, expected above 0 %" in refused(2, "calibrate", str(good), "--false-alarm", "100%")


def test_a_defect_among_the_good_photos_is_named(zsad, good):
    wild = np.zeros((48, 48, 3), np.uint8)
    wild[::2] = 255
    Image.fromarray(wild).save(good / "wild.png")
    said = zsad("calibrate", str(good), "--method", "clip", "--name", "plate")
    assert said.code == 0
    assert "this holds for photos that could as well have been among these" in said.out


@pytest.mark.parametrize("command", ["predict", "calibrate"])
def test_a_method_that_scores_sets_is_refused_before_it_is_loaded(refused, good, command):
    rate = ("--false-alarm", "50%") if command == "calibrate" else ()
    line = refused(2, command, str(good), "--method", "musc", "--backbone", "no such", *rate)
    assert (
        "MuSc scores all images of a category together and cannot score a single image; use `zsad-bench bench` on"
        in line
    )
