# pytest tests/golden/test_goldens.py
"""No golden file is passed over in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from goldens import golden_files, golden_params, golden_paths, names_with_a_test, owner

from zsad_bench import registry


@pytest.mark.parametrize("path", golden_files(), ids=lambda path: path.name)
def test_every_file_has_a_test(path: Path) -> None:
    if owner(path, names_with_a_test()) is not None:
        return
    method = owner(path, registry.names("methods"))
    assert method is None, f"{path.name}: method '{method}' is registered but tests/golden/test_{method}.py is missing"
    pytest.skip(f"{path.name}: no method or metric of this name yet")


def test_a_file_goes_to_the_longest_name_and_seeds_are_taken_too(tmp_path: Path, monkeypatch) -> None:
    for name in ("metrics.npz", "metrics_seed7.npz", "unheard_of.npz"):
        (tmp_path / name).touch()
    monkeypatch.setenv("ZSAD_GOLDEN_DIR", str(tmp_path))
    assert [path.name for path in golden_paths("metrics")] == ["metrics.npz", "metrics_seed7.npz"]
    assert owner(tmp_path / "clip_ac_b.npz", ["clip", "clip_ac"]) == "clip_ac", "clip took the file of clip_ac"
    assert owner(tmp_path / "unheard_of.npz", names_with_a_test()) is None, "a file of an unknown name found a test"
    assert golden_params("nothing")[0].marks, "a test without golden files must skip, not vanish"


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ZSAD_GOLDEN_DIR", str(tmp_path / "gone"))
    with pytest.raises(pytest.UsageError, match="ZSAD_GOLDEN_DIR"):
        golden_files()
