# pytest tests/data/datasets/test_tn3k.py
"""TN3K: the test folders alone, wherever the archive put them."""

from __future__ import annotations

from tests.data.miniatures import tn3k
from zsad_bench.data.datasets.tn3k import Tn3k


def test_folders_of_trainval_are_not_read(tmp_path):
    tn3k.write(tmp_path, "raw")
    module = Tn3k(tmp_path)
    assert module.root == tmp_path / "Thyroid Dataset" / "tn3k"
    assert {s.image.split("/")[0] for s in module.samples()} == {"test-image"}
    assert {m.split("/")[0] for s in module.samples() for m in s.masks} == {"test-mask"}


def test_archive_is_found_under_the_data_root(tmp_path, monkeypatch):
    tn3k.write(tmp_path, "raw")
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    assert len(Tn3k().samples()) == len(tn3k.STEMS)
