# pytest tests/data/datasets/test_dtd.py
"""DTD-Synthetic: how masks are called and read, its one type, and the dataset it was made from."""

from __future__ import annotations

import hashlib
import shutil

import pytest

from tests.data.miniatures import dtd as miniature
from zsad_bench.data.datasets.dtd import Dtd
from zsad_bench.errors import DatasetError, DatasetLayoutError

NESTED = "DTD-Synthetic/DTD-Synthetic"


def test_masks_of_other_names_are_paired_by_number_and_noted(tmp_path):
    miniature.write(tmp_path, "mvtec_style")
    module = Dtd(tmp_path)
    pairs = [(s.image[-7:], s.masks[0].rpartition("/")[2]) for s in module.samples() if s.label]
    assert {pair for pair in pairs if pair[1].startswith("painted")} == {
        ("000.png", "painted-0.png"),
        ("001.png", "painted-1.png"),
    }
    noted = [note for note in module.notes if "by the numbers in their names" in note]
    assert len(noted) == 1, f"one folder was paired by number, noted: {noted}"
    assert f"{miniature.UNALIKE}/ground_truth" in noted[0]


def test_a_number_without_its_mask_is_told(tmp_path):
    miniature.write(tmp_path, "mvtec_style")
    (tmp_path / NESTED / miniature.UNALIKE / "ground_truth/bad/painted-0.png").unlink()
    with pytest.raises(DatasetError, match=f"{miniature.UNALIKE}/test/bad/000.png is anomalous and has no mask"):
        Dtd(tmp_path).samples()


def test_grey_edges_count_as_anomalous(tmp_path):
    miniature.write(tmp_path, "mvtec_style")
    grey = next(sample for sample in Dtd(tmp_path).samples() if sample.label)
    mask = next(iter(Dtd(tmp_path, image_size=24, workers=0, samples=[grey]).test_dataloader())).masks
    assert float(mask.float().mean()) == pytest.approx(6 * 9 / (24 * 16), abs=0.03), (
        "the whole painted box, at a grey value of 60"
    )


def test_types_are_categories():
    """Golden: the twelve pairs, and the first six by the sha256 of `type|0|pair`."""
    pairs = [f"{category}/{kind}" for category, kinds in Dtd.anomaly_types.items() for kind in kinds]
    ranked = sorted(pairs, key=lambda pair: hashlib.sha256(f"type|0|{pair}".encode()).hexdigest())
    assert len(pairs) == 12
    assert [pair.removesuffix("/bad") for pair in ranked[:6]] == [
        "Woven_127", "Stratified_154", "Woven_125", "Woven_001", "Woven_104", "Perforated_037",
    ]  # fmt: skip


@pytest.mark.parametrize("nested", ["", "dtd"])
def test_the_photographs_it_was_made_from_are_refused(tmp_path, nested):
    for name in ("images/banded", "labels", "imdb"):
        (tmp_path / nested / name).mkdir(parents=True)
    with pytest.raises(DatasetLayoutError, match="Describable Textures Dataset"):
        Dtd(tmp_path).samples()


def test_missing_textures_are_named(tmp_path):
    miniature.write(tmp_path, "mvtec_style")
    for gone in ("Woven_068", "Blotchy_099"):
        shutil.rmtree(tmp_path / NESTED / gone)
    with pytest.raises(DatasetError, match="no test images of Blotchy_099, Woven_068"):
        Dtd(tmp_path).samples()
