# pytest tests/data/datasets/test_elpv.py
"""ELPV as others prepared it; the published split of the real labels is in tests/data/test_elpv.py."""

from __future__ import annotations

import pytest

from tests.data.miniatures import elpv as miniature
from zsad_bench.data.datasets.elpv import Elpv
from zsad_bench.errors import UsageError


@pytest.mark.parametrize("folder", ["elpv_anomaly_detection", "."])
def test_prepared_copy_is_found(folder, tmp_path, monkeypatch):
    expected = miniature.write(tmp_path / folder, "mvtec_style")
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    module = Elpv()
    assert module.layout == "mvtec_style"
    assert sorted(s.anomaly_type for s in module.samples()) == sorted(e.anomaly_type for e in expected)
    assert not module.has_masks


@pytest.mark.parametrize("variant", ["all", "prob_gt_0.5"])
@pytest.mark.parametrize("layout", ["mvtec_style", "meta_json"])
def test_other_variants_need_the_grades(variant, layout, tmp_path):
    miniature.write(tmp_path, layout)
    with pytest.raises(UsageError, match=f"variant {variant} is made from the raw layout, found {layout}"):
        Elpv(tmp_path, variant=variant).samples()


def test_variants_are_part_of_the_hash(tmp_path):
    miniature.write(tmp_path, "raw")
    hashes = {Elpv(tmp_path, variant=variant).manifest_hash for variant in Elpv.variants}
    assert len(hashes) == 3
    assert Elpv(tmp_path).decisions() == {}, "the default's hash is that of earlier versions"


def test_prepared_copy_beside_the_labels_is_said(tmp_path):
    miniature.write(tmp_path, "raw")
    miniature.write(tmp_path, "mvtec_style")
    module = Elpv(tmp_path)
    assert module.layout == "mvtec_style"
    assert any("there is also raw (take it with --data elpv.layout=raw)" in note for note in module.notes)
    assert Elpv(tmp_path, layout="raw").root == tmp_path / "src/elpv_dataset/data"
