# pytest tests/data/test_elpv.py
"""ELPV: the published split of the real labels, and a miniature for layouts, variants and bad files."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from zsad_bench.data.datasets.elpv import Elpv
from zsad_bench.errors import DatasetError, DatasetLayoutError, UsageError

# Computed from labels.csv with the published recipe: sha256 of the sorted, newline-joined normal test paths.
GOLDEN = "f5100c8625db1ce585c6402ba0d1658aecd578e5f84df61ce8f6b383178d8280"
GRADES = [0.0] * 8 + [1 / 3, 2 / 3, 2 / 3] + [1.0] * 5


@pytest.fixture(scope="module")
def real() -> Path:
    if Elpv.packaged() is None:
        pytest.skip("package elpv-dataset is not installed")
    return Elpv.packaged()


def miniature(root: Path) -> Path:
    (root / "images").mkdir(parents=True)
    lines = []
    for number, grade in enumerate(GRADES, 1):
        name = f"images/cell{number:04d}.png"
        Image.new("L", (30, 30), number).save(root / name)
        lines.append(f"{name}  {grade!r:<20} {'mono' if number % 2 else 'poly'}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def counts(samples) -> tuple[int, int]:
    return sum(s.label == 0 for s in samples), sum(s.label == 1 for s in samples)


def test_real_split_is_the_published_one(real):
    samples = Elpv(real).samples()
    normal = sorted(s.image for s in samples if s.label == 0)
    assert counts(samples) == (377, 715)
    assert hashlib.sha256("\n".join(normal).encode()).hexdigest() == GOLDEN
    assert Counter(s.anomaly_type for s in samples) == {"good": 377, "mono": 313, "poly": 402}


def test_real_split_starts_as_published(real):
    drawn = [s.image for s in Elpv(real).index(real) if s.label == 0][:5]
    assert drawn == [f"images/cell{n}.png" for n in ("1270", "2158", "0965", "1275", "1879")]


@pytest.mark.parametrize(("variant", "expected"), [("all", (1508, 715)), ("prob_gt_0.5", (1803, 821))])
def test_real_variants(real, variant, expected):
    assert counts(Elpv(real, variant=variant).samples()) == expected


@pytest.mark.parametrize("nested", ["", "data", "elpv_dataset/data", "src/elpv_dataset/data"])
@pytest.mark.parametrize("folder", ["elpv-dataset", "elpv_dataset", "elpv"])
def test_found_under_zsad_data(nested, folder, tmp_path, monkeypatch):
    root = miniature(tmp_path / folder / nested)
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    module = Elpv()
    assert module.root == root.resolve()
    assert counts(module.samples()) == (2, 5)
    assert module.categories()[0].prompt_name == "solar cell"


@pytest.mark.parametrize(("variant", "expected"), [("holdout25", (2, 5)), ("all", (8, 5)), ("prob_gt_0.5", (9, 7))])
def test_variants(variant, expected, tmp_path):
    assert counts(Elpv(miniature(tmp_path), variant=variant).samples()) == expected


def test_manifest_sees_a_file_that_changed(tmp_path):
    before = Elpv(miniature(tmp_path), variant="all").manifest_hash
    Image.new("L", (60, 60)).save(tmp_path / "images/cell0001.png")
    assert Elpv(tmp_path, variant="all").manifest_hash != before


def test_unknown_variant():
    with pytest.raises(UsageError, match=r"prob_gt_0\.5"):
        Elpv(variant="prob_gt_5")


def test_folder_without_labels_says_what_it_holds(tmp_path):
    (tmp_path / "elpv.zip").touch()
    with pytest.raises(DatasetLayoutError, match=r"labels\.csv.*elpv\.zip"):
        Elpv(tmp_path).samples()


def test_bad_line_is_named(tmp_path):
    miniature(tmp_path)
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("images/cell0099.png,1.0,mono\n")
    with pytest.raises(DatasetError, match=f"line {len(GRADES) + 1}"):
        Elpv(tmp_path).samples()


def test_missing_image_is_named(tmp_path):
    miniature(tmp_path)
    (tmp_path / "images/cell0016.png").unlink()
    with pytest.raises(DatasetError, match=r"cell0016\.png"):
        Elpv(tmp_path).samples()


def test_nothing_found_says_where_it_comes_from(tmp_path, monkeypatch):
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    monkeypatch.setattr(Elpv, "packaged", classmethod(lambda cls: None))
    assert Elpv.available() is None
    with pytest.raises(DatasetError, match="pip install elpv-dataset"):
        Elpv().samples()
