# pytest tests/runner/test_some_categories.py
"""Some categories of a target: the rows are those of a whole run, and only what is due is computed."""

from __future__ import annotations

import pytest

from tests.cells import run
from zsad_bench.errors import UsageError
from zsad_bench.results import rows as store
from zsad_bench.runner import opened, run_group, test_pass

PROVENANCE = {
    "run_id", "started", "pass_id", "seconds", "seconds_encode", "seconds_score", "peak_memory_mb",
}  # fmt: skip


def plain(rows) -> list[dict]:
    kept = [{k: v for k, v in row.record().items() if k not in PROVENANCE} for row in rows]
    return sorted(kept, key=lambda row: (row["method"], row["category"], row["metric"]))


def alike(rows: list[dict], others: list[dict]) -> None:
    """Everything is equal but for what float32 rounds otherwise in another batch.

    1e-5 because a threshold of the 200 that is rounded otherwise takes one pixel of ten thousand more or less.
    """
    measured = ("value", "error_bound", "ci_low", "ci_high")
    for row, other in zip(rows, others, strict=True):
        for name in measured:
            assert row[name] == pytest.approx(other[name], abs=1e-5), (row["metric"], name)
        assert row | dict.fromkeys(measured) == other | dict.fromkeys(measured)


@pytest.fixture
def batches(monkeypatch) -> list[list[str]]:
    """The categories of the images of every test pass, once it ran; batches of three straddle categories of four."""
    monkeypatch.setattr(opened, "TEST_BATCH", 3)
    seen: list[list[str]] = []
    whole = test_pass.resume.whole_batches

    def watched(samples, categories, size):
        kept = whole(samples, categories, size)
        seen.append([sample.category for sample in kept])
        return kept

    monkeypatch.setattr(test_pass.resume, "whole_batches", watched)
    return seen


def test_rows_of_a_category_are_those_of_a_whole_run(group_in, quiet, tmp_path, batches):
    methods = ("clip", "random")
    whole = run(group_in(tmp_path / "whole", methods=methods), quiet)
    part = run(group_in(tmp_path / "part", methods=methods, targets=("demo_textures:terrazzo",)), quiet)
    assert {row.category for row in part.rows} == {"terrazzo"}
    # The texts of one category are encoded in another batch than those of three.
    alike(plain(part.rows), plain(row for row in whole.rows if row.category == "terrazzo"))
    assert plain(store.load(tmp_path / "part/board/rows")) == plain(part.rows)
    assert len(batches[1]) < len(batches[0]), "the other categories were computed too"
    assert {row.target_partial for row in part.rows} == {""}, "a choice is not a partial dataset"


def test_several_categories_are_one_pass_and_the_rest_is_computed_later(group_in, quiet, tmp_path, batches):
    def go(target):
        return run(group_in(tmp_path, methods=("clip",), targets=(target,)), quiet, skip_complete=True)

    first = go("demo_textures:carpet+perforated")
    assert {row.category for row in first.rows} == {"carpet", "perforated"}
    assert len(batches) == 1
    assert {row.category for row in go("demo_textures").rows} == {"terrazzo"}, "what is there is not computed again"
    assert go("demo_textures:carpet").rows == []
    rows = store.load(tmp_path / "board/rows")
    assert len({row.key for row in rows}) == 1, "one cell, whatever was asked for first"


@pytest.mark.parametrize("method", ["anomalyclip", "dive", "faprompt"])
def test_what_learns_from_masks_refuses_a_prior_without(group_in, quiet, tmp_path, method, monkeypatch):
    monkeypatch.setattr(run_group, "fit", lambda *_: pytest.fail("training began"))
    group = group_in(tmp_path, methods=(method,), prior="elpv:shots=4:normals=4", epochs=1)
    with pytest.raises(UsageError, match=rf"{method} learns from masks, and auxiliary dataset elpv has none"):
        run(group, quiet)
    assert not (tmp_path / "board").exists()


def test_what_learns_from_labels_takes_it(group_in, quiet, tmp_path):
    done = run(group_in(tmp_path, methods=("coop",), prior="elpv:shots=2:normals=2", epochs=1), quiet)
    assert {(row.auxiliary, row.auxiliary_partial) for row in done.rows} == {("elpv", "")}


def test_labels_of_one_kind_are_refused(group_in, quiet, tmp_path):
    group = group_in(tmp_path, methods=("coop",), prior="limited:normals=0", epochs=1)
    with pytest.raises(UsageError, match="of auxiliary dataset demo_limited no normal image is kept"):
        run(group, quiet)


@pytest.mark.parametrize("second", ["demo_textures:carpet", "demo_textures"])
def test_targets_that_are_parts_of_one_dataset_are_all_computed_once(group_in, quiet, tmp_path, second):
    """As the blocks of a recipe ask for them: what the first one has is nothing that the second one lacks, or has."""
    group = group_in(tmp_path, methods=("clip",), targets=("demo_textures:terrazzo", second))
    record = run(group, quiet, skip_complete=True)
    wanted = {"terrazzo", "carpet"} if ":" in second else {"perforated", "terrazzo", "carpet"}
    assert {row.category for row in record.rows} == wanted
    places = [(row.category, row.metric) for row in store.load(tmp_path / "board/rows")]
    assert len(places) == len(set(places)), "a category was computed twice"
