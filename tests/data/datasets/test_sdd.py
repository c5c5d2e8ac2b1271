# pytest tests/data/datasets/test_sdd.py
"""SDD: three parts of every photograph, labelled by pixels; what others prepared; copies that are broken."""

from __future__ import annotations

import pytest

from tests.data.miniatures import sdd as miniature
from tests.data.miniatures.files import write_image, write_mask
from zsad_bench.data import crops
from zsad_bench.data.datasets.sdd import Sdd, thirds
from zsad_bench.errors import DatasetError, DatasetLayoutError, UsageError


@pytest.fixture
def raw(tmp_path):
    miniature.write(tmp_path, "raw")
    return tmp_path


def test_cuts_are_rounded_down():
    assert thirds(500, 1265) == [(0, 0, 500, 421), (0, 421, 500, 843), (0, 843, 500, 1265)]


def test_every_part_is_in_one_split_and_a_defect_over_a_cut_counts_twice(raw):
    module = Sdd(raw)
    samples = module.index(module.root)
    assert len(samples) == len({s.id for s in samples}) == 3 * 53, "a part is missing or doubled"
    assert [s.label for s in samples if s.image == "kos02/Part3.jpg"] == [1, 1, 0]
    assert {s.label for s in samples if s.split == "train"} == {0}, "defects are never for training"
    assert sum(s.label == 0 and s.split == "test" for s in samples) == 39, "a quarter of 155, rounded up"


def test_one_pixel_is_a_defect(raw):
    write_mask(raw / "kos09/Part0_label.bmp", (miniature.WIDTH, 30), (0, 29, 1, 30), value=1)
    found = [s.crop for s in Sdd(raw).samples() if s.image == "kos09/Part0.jpg" and s.label]
    assert found == [(0, 20, miniature.WIDTH, 30)], "the lowest part alone is anomalous"


def test_masks_are_read_once_a_process(raw, monkeypatch):
    Sdd(raw).samples()
    monkeypatch.setattr(crops, "open_masks", lambda *_: pytest.fail("a mask was read again"))
    assert len(Sdd(raw).samples()) == 43


def test_a_mask_that_changed_is_read_again(raw):
    before = sum(s.label for s in Sdd(raw).samples())
    write_mask(raw / "kos09/Part0_label.bmp", (miniature.WIDTH, 30), (0, 0, 9, 30))
    assert sum(s.label for s in Sdd(raw).samples()) == before + 3


def test_mask_of_another_size(raw):
    write_mask(raw / "kos09/Part0_label.bmp", (miniature.WIDTH, 29), None)
    with pytest.raises(DatasetError, match=r"kos09.Part0_label\.bmp is 9 x 29 .* image .*kos09.Part0\.jpg is 9 x 30"):
        Sdd(raw).samples()


def test_missing_mask_and_missing_folder_are_named(raw):
    (raw / "kos09/Part0_label.bmp").unlink()
    with pytest.raises(DatasetError, match=r"Part0\.jpg has no mask Part0_label\.bmp"):
        Sdd(raw).samples()
    for number in (9, 31):
        (raw / f"kos{number:02d}").rename(raw / f"moved{number}")
    with pytest.raises(DatasetError, match="has no kos09, kos31; the copy is partial"):
        Sdd(raw).samples()


def test_not_an_image(raw):
    (raw / "kos05/Part0.jpg").write_text("<html>")
    with pytest.raises(DatasetError, match=r"cannot read image .*kos05.Part0\.jpg"):
        Sdd(raw).samples()


def test_variant_of_the_prepared_copy(raw, tmp_path_factory):
    with pytest.raises(UsageError, match="only from its authors' prepared copy"):
        Sdd(raw, variant="anomalyclip").samples()
    prepared = tmp_path_factory.mktemp("prepared")
    miniature.write(prepared, "mvtec_style")
    module = Sdd(prepared, variant="anomalyclip")
    assert len(module.samples()) == 43
    assert any("expected 181 and 74" in note for note in module.notes)


@pytest.mark.parametrize("folder", ["SDD", "electrical_commutators", "electrical commutators"])
def test_names_of_prepared_copies(folder, tmp_path, monkeypatch):
    top = tmp_path / "SDD_anomaly_detection" / folder
    write_image(top / "test/good/kos01_Part0_0.png")
    write_image(top / "test/defect/kos01_Part1_0.png")
    write_mask(top / "ground_truth/defect/kos01_Part1_0_mask.png")
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    assert [(s.category, s.label, len(s.masks)) for s in Sdd().samples()] == [("SDD", 1, 1), ("SDD", 0, 0)]


def test_kolektorsdd2_is_another_dataset(tmp_path):
    for split in ("train", "test"):
        write_image(tmp_path / split / "20000.png")
        write_mask(tmp_path / split / "20000_GT.png")
    with pytest.raises(DatasetLayoutError, match=r"Part0_label\.bmp; found test/, train/"):
        Sdd(tmp_path).samples()
