# pytest tests/data/datasets/test_mpdd.py
"""MPDD: names of its types and categories, and copies that are partial."""

from __future__ import annotations

import shutil

import pytest

from tests.data.miniatures import mpdd as miniature
from zsad_bench.data.datasets.mpdd import Mpdd
from zsad_bench.errors import DatasetError


def test_types_are_the_folders_of_the_release(tmp_path):
    miniature.write(tmp_path, "mvtec_style")
    module = Mpdd(tmp_path)
    found = {(s.category, s.anomaly_type) for s in module.samples() if s.label}
    assert found == {(category, kind) for category, kinds in Mpdd.anomaly_types.items() for kind in kinds}


@pytest.mark.parametrize("layout", miniature.LAYOUTS)
def test_partial_copy_names_the_missing_categories(tmp_path, layout):
    miniature.write(tmp_path, layout)
    for gone in ("connector", "tubes"):
        shutil.rmtree(next(tmp_path.rglob(gone)))
    with pytest.raises(DatasetError, match="connector") as error:
        Mpdd(tmp_path).samples()
    assert layout == "meta_json" or "no test images of connector, tubes" in str(error.value), str(error.value)


def test_missing_mask_is_named(tmp_path):
    miniature.write(tmp_path, "mvtec_style")
    (tmp_path / "anomaly_dataset/metal_plate/ground_truth/total_rust/000_mask.png").unlink()
    with pytest.raises(DatasetError, match=r"metal_plate/test/total_rust/000\.png is anomalous and has no mask"):
        Mpdd(tmp_path).samples()


def test_friendly_names_put_the_colour_first(tmp_path):
    miniature.write(tmp_path, "mvtec_style")
    names = [category.prompt_name for category in Mpdd(tmp_path, prompt_names="friendly").categories()]
    assert names == ["black bracket", "brown bracket", "white bracket", "connector", "metal plate", "tubes"]
