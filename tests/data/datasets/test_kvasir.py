# pytest tests/data/datasets/test_kvasir.py
"""Kvasir-SEG: both of its downloads, and HyperKvasir refused."""

from __future__ import annotations

import pytest

from tests.data.miniatures import kvasir
from zsad_bench.data.datasets.kvasir import Kvasir
from zsad_bench.errors import DatasetLayoutError


def masks(root):
    return next(iter(Kvasir(root, image_size=24, workers=0).test_dataloader())).masks


@pytest.mark.parametrize("shape", ["original", "figshare"])
def test_shapes(shape, tmp_path):
    expected = kvasir.write(tmp_path, "raw", shape)
    assert [(s.image, s.masks) for s in Kvasir(tmp_path).samples()] == [(e.image, e.masks) for e in expected]


def test_shapes_hold_the_same_masks(tmp_path):
    kvasir.write(tmp_path / "a", "raw", "original")
    kvasir.write(tmp_path / "b", "raw", "figshare")
    assert (masks(tmp_path / "a") == masks(tmp_path / "b")).all()


@pytest.mark.parametrize("path", ["segmented-images", "hyper-kvasir-segmented-images", "HyperKvasir"])
def test_hyperkvasir_is_refused(path, tmp_path):
    kvasir.write(tmp_path / path, "raw")
    with pytest.raises(DatasetLayoutError, match="is HyperKvasir, another dataset; give the folder of Kvasir"):
        Kvasir(tmp_path / path).samples()


def test_parent_of_segmented_images_is_refused(tmp_path):
    kvasir.write(tmp_path / "segmented-images", "raw")
    with pytest.raises(DatasetLayoutError, match="HyperKvasir"):
        Kvasir(tmp_path).samples()
