# pytest tests/data/datasets/test_colondb.py
"""CVC-ColonDB: found inside the archive of polyp sets, and nothing else of it read."""

from __future__ import annotations

import pytest

from tests.data.miniatures import colondb
from zsad_bench.data.datasets.colondb import ColonDB
from zsad_bench.errors import DatasetLayoutError


def test_only_its_own_folder_of_the_archive_is_read(tmp_path):
    colondb.write(tmp_path, "raw")
    module = ColonDB(tmp_path)
    assert module.root == tmp_path / "CVC-ColonDB"
    assert len(module.samples()) == len(colondb.STEMS)


def test_archive_still_packed(tmp_path):
    (tmp_path / "Polyp_DataSet.zip").write_bytes(b"PK")
    with pytest.raises(DatasetLayoutError, match=r"images/ beside masks/.*unpack Polyp_DataSet\.zip first"):
        ColonDB(tmp_path).samples()


@pytest.mark.parametrize("alias", ["ColonDB", "Colon_colonDB"])
def test_names_that_others_give_the_category(alias, tmp_path):
    colondb.write(tmp_path, "mvtec_style")
    (tmp_path / "ColonDB").rename(tmp_path / alias)
    assert {s.category for s in ColonDB(tmp_path).samples()} == {"colon"}
