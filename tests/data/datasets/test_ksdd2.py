# pytest tests/data/datasets/test_ksdd2.py
"""KSDD2: labels are what masks mark; the copy of Bayes-PFL goes by its own name and by no other."""

from __future__ import annotations

import pytest

from tests.data.miniatures import ksdd2 as miniature
from tests.data.miniatures.files import write_mask
from zsad_bench.data.datasets.ksdd2 import Ksdd2
from zsad_bench.errors import DatasetError, UsageError

NAMES = ("KSDD2-metal-defect-", "KSDD2-metal-null-")


@pytest.fixture
def raw(tmp_path):
    miniature.write(tmp_path, "raw")
    return tmp_path / "KolektorSDD2"


def test_one_pixel_is_a_defect(raw):
    assert [s.label for s in Ksdd2(raw).samples()] == [0, 1, 0, 1, 0]
    write_mask(raw / "test/20000_GT.png", miniature.SIZE, (8, 23, 9, 24), value=1)
    assert [s.label for s in Ksdd2(raw).samples()] == [1, 1, 0, 1, 0]


def test_the_copy_in_the_release_and_the_other_split_are_not_tested(raw):
    module = Ksdd2(raw, split="train")
    assert [(s.image, s.label) for s in module.samples()] == [
        ("train/10000.png", 1), ("train/10001.png", 0), ("train/10301.png", 0),
    ]  # fmt: skip
    assert any("10301 (copy).png is left out: the release holds a copy" in note for note in module.notes)


def test_missing_mask_and_missing_split(raw):
    (raw / "test/20002_GT.png").unlink()
    with pytest.raises(DatasetError, match=r"20002\.png has no mask 20002_GT\.png beside it, which says whether"):
        Ksdd2(raw).samples()
    assert len(Ksdd2(raw, partial=True).samples()) == 4
    (raw / "test").rename(raw / "elsewhere")
    with pytest.raises(DatasetError, match="has no folder test/; the copy is partial"):
        Ksdd2(raw).samples()


def test_the_prepared_copy_is_tested_under_its_own_name_alone(raw, tmp_path_factory):
    with pytest.raises(UsageError, match=r"bayes_pfl is known only from a prepared copy"):
        Ksdd2(raw, variant="bayes_pfl").samples()
    prepared = tmp_path_factory.mktemp("KSDD2")
    miniature.write_prepared(prepared, "Metal", NAMES)
    module = Ksdd2(prepared, variant="bayes_pfl", image_size=16, workers=0)
    assert [(s.category, s.anomaly_type, len(s.masks)) for s in module.samples()] == [
        ("metal", "defect", 1), ("metal", "defect", 1), ("metal", "good", 0), ("metal", "good", 0),
    ]  # fmt: skip
    assert any("expected 356 and 356 (evidence V)" in note for note in module.notes)
    with pytest.raises(UsageError, match=r"is the copy of variant bayes_pfl .*take --data ksdd2\.variant=bayes_pfl"):
        Ksdd2(prepared).samples()
    other = tmp_path_factory.mktemp("other")
    miniature.write(other, "mvtec_style")
    with pytest.raises(UsageError, match=r"whose images are called KSDD2-metal-…; .* has none"):
        Ksdd2(other, variant="bayes_pfl").samples()
