# pytest tests/data/test_check.py
"""What a check says of a dataset: nothing of one that is whole, and each defect by name, however many there are."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.data import miniatures
from tests.data.miniatures.files import write_image, write_mask
from zsad_bench import registry
from zsad_bench.data import check as checks
from zsad_bench.data.base import Expected


@pytest.fixture
def own(tmp_path):
    """A folder of two normal and three anomalous images with masks, and how to check it."""
    for name in ("a", "b"):
        write_image(tmp_path / f"images/test/good/{name}.png")
    for name in ("c", "d", "e"):
        write_image(tmp_path / f"images/test/scratch/{name}.png")
        write_mask(tmp_path / f"images/ground_truth/scratch/{name}.png")
    return tmp_path / "images"


def checked(root, name="folder", **options):
    return checks.check(registry.load("datasets", name)(root, **options))


def kinds(report):
    return [finding.kind for finding in report.findings]


def found_of(report, kind):
    messages = [finding.message for finding in report.findings if finding.kind == kind]
    assert len(messages) == 1, f"expected one finding '{kind}', found {report.findings}"
    assert "\n" not in messages[0], f"a finding is one line: {messages[0]}"
    return messages[0]


def test_a_whole_dataset_is_clean(own):
    report = checked(own)
    assert (report.verdict, report.exit_code, report.findings) == ("clean", 0, ())
    assert (report.normal, report.anomalous, report.images, report.masks) == (2, 3, 5, 3)
    assert report.sizes == {"24x16": 5}, "width comes first"
    assert report.modes == {"RGB": 5}
    assert report.formats == {"PNG": 5}
    assert report.categories == {"images": (2, 3)}
    assert report.bytes == sum(p.stat().st_size for p in own.glob("test/*/*"))
    assert len(report.manifest_hash) == 64


@pytest.mark.parametrize("name", miniatures.names())
def test_every_miniature_is_clean_but_for_its_size(name, tmp_path):
    """Whatever its quirks; they are what the dataset really is like."""
    for layout in miniatures.load(name).LAYOUTS:
        expected = miniatures.load(name).write(tmp_path / layout, layout)
        report = checked(tmp_path / layout, name)
        counts = [sum(e.label == label for e in expected) for label in (0, 1)]
        assert [report.normal, report.anomalous] == counts, f"{name} as {layout}: counts"
        assert report.layout == layout
        assert set(kinds(report)) <= {"counts"}, f"{name} as {layout}: {report.findings}"


def damaged(path, how):
    content = path.read_bytes()
    path.write_bytes({"truncated": content[: len(content) // 2], "text": b"404: not found\n", "empty": b""}[how])


@pytest.mark.parametrize("how", ["truncated", "text"])
@pytest.mark.parametrize("path", ["test/good/a.png", "ground_truth/scratch/d.png"])
def test_a_file_that_cannot_be_decoded(own, path, how):
    damaged(own / path, how)
    report = checked(own)
    assert report.exit_code == 1
    assert str(own / path) in found_of(report, "unreadable")
    assert sum(report.sizes.values()) == (4 if "good" in path else 5), "the others are still looked at"


def test_an_empty_image_is_found_though_readers_leave_it_out(own):
    damaged(own / "test/good/a.png", "empty")
    report = checked(own)
    assert str(own / "test/good/a.png") in found_of(report, "empty_file")
    assert report.normal == 1
    assert not any("a.png" in note for note in report.notes), "said twice"


def test_an_empty_file_that_a_table_lists(own, tmp_path):
    damaged(own / "test/good/a.png", "empty")
    rows = ["image,label", "images/test/good/a.png,0", "images/test/good/b.png,0", "images/test/scratch/c.png,1"]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    assert "a.png" in found_of(checked(tmp_path / "table.csv", "csv"), "empty_file")


def test_several_defects_in_one_pass(own):
    damaged(own / "test/good/a.png", "text")
    write_mask(own / "ground_truth/scratch/c.png", box=None)
    write_mask(own / "ground_truth/scratch/d.png", size=(12, 8))
    report = checked(own)
    assert sorted(kinds(report)) == ["blank_mask", "mask_size", "unreadable"]
    assert "c.png" in found_of(report, "blank_mask")
    assert "12x8" in found_of(report, "mask_size")
    assert "24x16" in found_of(report, "mask_size")


def test_missing_masks_are_all_named(tmp_path):
    miniatures.load("btad").write(tmp_path, "raw" if "raw" in miniatures.load("btad").LAYOUTS else "mvtec_style")
    module = registry.load("datasets", "btad")(tmp_path)
    gone = [sample for sample in module.samples() if sample.masks][:2]
    for sample in gone:
        (module.root / sample.masks[0]).unlink()
    report = checked(tmp_path, "btad")
    missing = [f.message for f in report.findings if f.kind == "missing_mask"]
    assert len(missing) == 2, report.findings
    assert all(any(sample.image in line for line in missing) for sample in gone)
    assert report.manifest_hash is None, "a table that no run accepts has no hash to quote"
    assert "missing_mask" not in kinds(checked(tmp_path, "btad", allow_missing_masks=True)), "it was said to be right"


def test_copies_of_an_image(own):
    shutil.copy(own / "test/good/a.png", own / "test/good/copy.png")
    report = checked(own)
    line = found_of(report, "duplicate")
    assert "a.png" in line
    assert "copy.png" in line
    assert report.duplicates == 1


def test_one_image_with_both_labels(own):
    shutil.copy(own / "test/good/a.png", own / "test/scratch/c.png")
    line = found_of(checked(own), "contradiction")
    assert "good/a.png" in line
    assert "scratch/c.png" in line


def test_duplicates_of_a_complete_download_are_its_own(tmp_path, monkeypatch):
    """Of BrainMRI, 25 files repeat another one, and the published counts include them."""
    miniatures.load("brainmri").write(tmp_path, "raw")
    module = registry.load("datasets", "brainmri")(tmp_path)
    first, second = [module.root / s.image for s in module.samples() if s.label == 1][:2]
    second.write_bytes(first.read_bytes())
    assert "duplicate" in kinds(checked(tmp_path, "brainmri")), "the counts are not the published ones"
    labels = [s.label for s in module.samples()]
    whole = Expected(labels.count(0), labels.count(1), "V")
    monkeypatch.setattr(type(module), "variants", {"all": whole})
    report = checked(tmp_path, "brainmri")
    assert report.verdict == "clean", report.findings
    assert any("1 images repeat another" in note for note in report.notes)
    assert any("br35h" in note for note in report.notes), "that it shares images is not said"


@pytest.mark.parametrize(("evidence", "verdict"), [("V", "findings"), ("S", "clean"), ("R", "clean")])
def test_only_verified_counts_are_findings(evidence, verdict, tmp_path, monkeypatch):
    miniatures.load("headct").write(tmp_path, "raw")
    monkeypatch.setattr(registry.load("datasets", "headct"), "variants", {"all": Expected(100, 100, evidence)})
    report = checked(tmp_path, "headct")
    assert report.verdict == verdict
    said = [finding.message for finding in report.findings] + list(report.notes)
    assert sum("expected 100 and 100" in line for line in said) == 1, said


def test_counts_of_another_variant_are_named(tmp_path, monkeypatch):
    miniatures.load("sdd").write(tmp_path, "mvtec_style")
    cls = registry.load("datasets", "sdd")
    labels = [sample.label for sample in cls(tmp_path).samples()]
    other = Expected(labels.count(0), labels.count(1), "S")
    monkeypatch.setattr(cls, "variants", {"holdout25": Expected(286, 54, "V"), "anomalyclip": other})
    report = checked(tmp_path, "sdd")
    assert report.verdict == "clean"
    assert any("anomalyclip is published with these counts" in note for note in report.notes)


# --- not a dataset ----------------------------------------------------------------------------------------------------


def test_nothing_there(tmp_path, monkeypatch):
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    for root in (None, tmp_path / "none"):
        report = checked(root, "visa")
        assert (report.verdict, report.exit_code) == ("not_found", 2)
        assert found_of(report, "not_found").startswith("visa: ")


def test_an_archive_that_is_still_packed(tmp_path):
    (tmp_path / "mpdd.zip").write_bytes(b"PK")
    report = checked(tmp_path, "mpdd")
    assert (report.verdict, report.exit_code) == ("not_recognised", 2)
    assert "unpack mpdd.zip first" in found_of(report, "not_recognised")


def test_what_is_recognised_and_broken_is_no_stranger(tmp_path):
    (tmp_path / "meta.json").write_text("{")
    report = checked(tmp_path, "mvtec")
    assert (report.verdict, report.exit_code) == ("findings", 1)
    assert str(tmp_path / "meta.json") in found_of(report, "broken")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(own):
    (own / "test/good/a.png").chmod(0)
    assert str(own / "test/good/a.png") in found_of(checked(own), "unreadable")


# --- large images, order, threads -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_60_megapixel_image_is_read_and_said(own):
    pixels = np.zeros((6100, 10000), np.uint8)
    pixels[:, 5000:] = 200
    Image.fromarray(pixels).save(own / "test/good/large.png")
    report = checked(own)
    assert report.verdict == "clean", report.findings
    assert report.large == 1
    assert any("1 images have more than 60 megapixels" in note for note in report.notes)


def test_what_pillow_takes_for_a_bomb_is_refused(own, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # refused from twice as many on; an image here has 384
    report = checked(own)
    assert set(kinds(report)) == {"unreadable"}
    assert all("decompression bomb" in finding.message for finding in report.findings)


def test_threads_change_nothing_and_progress_is_complete(own):
    damaged(own / "test/good/a.png", "text")
    steps = []
    module = registry.load("datasets", "folder")(own)
    one = checks.check(module, workers=1, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(n, 5) for n in range(1, 6)]
    assert checks.check(registry.load("datasets", "folder")(own), workers=3) == one
