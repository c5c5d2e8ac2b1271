# pytest tests/sweep/test_decoded_images.py
"""Groups that run side by side share what they decode, as long as the sweep runs and no longer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zsad_bench.data.image_cache import SHARED, SharedImages
from zsad_bench.planning import recipe as recipes
from zsad_bench.planning.plan import plan
from zsad_bench.sweep.decoded_images import PREFIX, decoded_once, remove_left, shared_bytes
from zsad_bench.sweep.schedule import Listener, hashed
from zsad_bench.sweep.stored_plan import StoredPlan
from zsad_bench.sweep.sweep_folder import SweepFolder
from zsad_bench.sweep.sweep_status import SweepStatus

RECIPE = """
suite: demo
methods: [clip, winclip, dive]
priors: [limited]
targets: [demo_textures]
settings: {image_size: 32}
epochs: 1
"""
pytestmark = pytest.mark.usefixtures("small")
BYTES = 3 * 32**2 + 32**2 // 8 + 1000  # of a decoded image


@pytest.fixture
def status(tmp_path) -> SweepStatus:
    return of(tmp_path, RECIPE)


def of(folder: Path, recipe: str) -> SweepStatus:
    file = folder / "mine.yaml"
    file.write_text(recipe)
    stored = StoredPlan.of(plan(recipes.load(file)), folder / "board", folder / "runs")
    return hashed(stored, SweepFolder(folder / "sweep"), Listener())


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    return place


def test_a_folder_is_shared_while_the_sweep_runs(status, temporary, monkeypatch):
    said: list[str] = []
    n_tested = next(iter(status.sizes.values())).tested
    with decoded_once(status, status.groups, 2, said.append) as environment:
        monkeypatch.setenv(SHARED, environment[SHARED])
        shared = SharedImages.of_environment()
        assert shared is not None
        assert shared.folder.parent == temporary
        assert shared.folder.stat().st_mode & 0o77 == 0, "others may read what lies there"
        assert shared.floor > 0
        (shared.folder / "ab").mkdir()
        (shared.folder / "ab" / "cd.npz").write_bytes(b"pixels")
    assert not list(temporary.iterdir())
    (line,) = said
    assert f"decode each image once: at most {n_tested * BYTES // 1000} kB in {shared.folder}" in line
    assert "which may take" in line


def test_only_what_two_groups_read_counts(status, tmp_path):
    n_tested, n_learned = (max(getattr(s, f) for s in status.sizes.values()) for f in ("tested", "n_auxiliary"))
    assert len(status.groups) == 3
    assert shared_bytes(status, status.groups) == n_tested * BYTES, "one group alone learns"
    assert shared_bytes(status, status.groups[:1]) == 0
    seeds = of(tmp_path, RECIPE + "seeds: [0, 1]\n")
    assert shared_bytes(seeds, seeds.groups) == (n_tested + n_learned) * BYTES


def test_one_group_at_a_time_shares_nothing(status, temporary):
    for groups, at_once in ((status.groups, 1), (status.groups[:1], 2)):
        with decoded_once(status, groups, at_once, pytest.fail) as environment:
            assert environment == {}
            assert not list(temporary.iterdir())


def test_what_a_killed_sweep_left_is_removed(temporary):
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    ended = int(process.stdout)
    names = {"ended": f"{PREFIX}{ended}-ab1", "ours": f"{PREFIX}{os.getpid()}-ab1", "other": "somebody-elses-1"}
    for name in names.values():
        (temporary / name / "ab").mkdir(parents=True)
    remove_left(temporary)
    assert {path.name for path in temporary.iterdir()} == {names["ours"], names["other"]}
