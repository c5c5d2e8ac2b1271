# pytest tests/data/datasets/test_lag.py
"""LAG: the hold-out and the whole of part 1, the protected archive, and folders that must not be looked into."""

from __future__ import annotations

import shutil

import pytest

from tests.data.miniatures import lag as miniature
from tests.data.miniatures.files import write_image
from zsad_bench.data.datasets.lag import Lag
from zsad_bench.errors import DatasetError, DatasetLayoutError


def counts(module) -> tuple[int, int]:
    labels = [sample.label for sample in module.samples()]
    return labels.count(0), labels.count(1)


@pytest.mark.parametrize(("variant", "expected"), [("holdout25", (2, 3)), ("all", (5, 3)), (None, (2, 3))])
def test_variants(variant, expected, tmp_path):
    miniature.write(tmp_path)
    assert counts(Lag(tmp_path, variant=variant)) == expected


def test_holdout_draws_a_quarter_of_the_sorted_normals(tmp_path):
    for number in range(100):
        write_image(tmp_path / miniature.NORMAL / f"{number}.jpg", (4, 4))
    write_image(tmp_path / miniature.ANOMALOUS / "0.jpg", (4, 4))
    module = Lag(tmp_path)
    in_order = sorted(f"{number}.jpg" for number in range(100))  # byte order: 0, 1, 10, 11, …
    drawn = [s.image for s in module.index(module.root) if s.label == 0]
    # First of numpy's RandomState(42).permutation(100).
    assert drawn[:5] == [f"{miniature.NORMAL}/{in_order[i]}" for i in (83, 53, 70, 45, 44)]
    assert counts(module) == (25, 1)


def test_variants_have_hashes_of_their_own(tmp_path):
    miniature.write(tmp_path)
    assert Lag(tmp_path).manifest_hash != Lag(tmp_path, variant="all").manifest_hash


def test_attention_maps_are_not_read(tmp_path):
    miniature.write(tmp_path)
    read = [s.image for s in Lag(tmp_path, variant="all").samples()]
    assert len(read) == 8
    assert all("/image/" in path for path in read), read


def test_packed_archive_says_that_a_password_is_needed(tmp_path):
    (tmp_path / "LAG_database_part_1.rar").write_bytes(b"Rar!")
    with pytest.raises(DatasetLayoutError, match=r"LAG_database_part_1\.rar, which is protected: ask .* password"):
        Lag(tmp_path).samples()


def test_archive_beside_the_unpacked_images_is_no_hindrance(tmp_path):
    miniature.write(tmp_path)
    (tmp_path / "LAG_database_part_1.rar").write_bytes(b"Rar!")
    assert counts(Lag(tmp_path)) == (2, 3)


def test_not_found_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match=r"no folder called like LAG_database_part_1, LAG, lag .*password"):
        Lag().samples()


@pytest.mark.parametrize("missing", [miniature.NORMAL, miniature.ANOMALOUS])
def test_partial_copy_names_the_missing_folder(missing, tmp_path):
    miniature.write(tmp_path)
    shutil.rmtree(tmp_path / "LAG_database_part_1" / missing)
    with pytest.raises(DatasetError, match=f"LAG_database_part_1/{missing} is missing"):
        Lag(tmp_path).samples()


def test_prompts_speak_of_a_fundus(tmp_path):
    miniature.write(tmp_path)
    assert [(c.name, c.prompt_name, c.kind) for c in Lag(tmp_path).categories()] == [("LAG", "fundus", "organ")]
