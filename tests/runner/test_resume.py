# pytest tests/runner/test_resume.py
"""A resumed cell group: a cell with complete rows is not computed again, and a training that was saved is reused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.cells import Group, run
from zsad_bench.backbones.encoder import Encoder
from zsad_bench.metrics import IMAGE_KEYS, PIXEL_KEYS
from zsad_bench.results import rows as store
from zsad_bench.runner import opened, resume, run_group
from zsad_bench.types import Sample
from zsad_bench.variant import Variant


def numbers(board) -> dict:
    return {(r.key, r.category, r.metric): r.value for r in store.load(board / "rows")}


@pytest.fixture(scope="module")
def whole(group_in, tmp_path_factory) -> SimpleNamespace:
    """One uninterrupted run; not to be changed."""
    import io

    from zsad_bench.console import Console

    group = group_in(tmp_path_factory.mktemp("whole"))
    run(group, Console(file=io.StringIO()))
    return SimpleNamespace(group=group, numbers=numbers(group.board))


@pytest.fixture
def unfinished(whole, group_in, quiet, tmp_path):
    """unfinished(keep): a run of which only those rows are left that `keep` accepts."""

    def tear(keep) -> Group:
        group = group_in(tmp_path)
        run(group, quiet)
        for file in store.row_files(group.board / "rows"):
            kept = [row.to_json() for row in store.load(file) if keep(row)]
            file.write_text("".join(f"{line}\n" for line in kept))
        return group

    return tear


@pytest.fixture
def fits(monkeypatch) -> list[str]:
    """Titles of what was trained since."""
    seen: list[str] = []
    whole = run_group.fit

    def fit(method, *args):
        seen.append(method.title)
        whole(method, *args)

    monkeypatch.setattr(run_group, "fit", fit)
    return seen


@pytest.fixture
def scored(monkeypatch) -> list[int]:
    """How many images were encoded at a time since."""
    seen: list[int] = []
    encode = Encoder.__call__

    def counted(self, images, *rest):
        seen.append(len(images))
        return encode(self, images, *rest)

    monkeypatch.setattr(Encoder, "__call__", counted)
    return seen


def test_a_complete_group_costs_nothing(unfinished, quiet, fits, scored):
    group = unfinished(lambda row: True)
    before, folders = numbers(group.board), set(group.runs.iterdir())
    fits.clear()
    scored.clear()
    assert run(group, quiet, skip_complete=True).rows == []
    assert (fits, scored, set(group.runs.iterdir())) == ([], [], folders)
    assert numbers(group.board) == before


def test_what_is_missing_is_computed_and_nothing_else(unfinished, whole, quiet, fits, monkeypatch):
    monkeypatch.setattr(opened, "TEST_BATCH", 3)  # batches straddle the categories of four
    kept = ("clip", "image_ap")
    group = unfinished(lambda row: not (row.category == "terrazzo" and (row.method, row.metric) != kept))
    left = numbers(group.board)
    fits.clear()
    added = run(group, quiet, skip_complete=True).rows
    assert {(row.method, row.category) for row in added} == {(m, "terrazzo") for m in ("clip", "anomalyclip", "random")}
    assert fits == [], "trained again although the checkpoint is there"
    assert "AnomalyCLIP: trained before" in quiet.file.getvalue()
    after = numbers(group.board)
    assert after.keys() == whole.numbers.keys()
    assert after == pytest.approx(whole.numbers, abs=1e-6)
    assert {key: after[key] for key in left} == left


def test_going_on_gives_the_very_same_numbers(unfinished, whole, quiet):
    group = unfinished(lambda row: row.category == "perforated")
    run(group, quiet, skip_complete=True)
    assert numbers(group.board) == whole.numbers


def test_a_lost_checkpoint_is_trained_again_and_said_so(unfinished, whole, quiet, fits):
    group = unfinished(lambda row: row.category != "carpet")
    for file in group.runs.glob("*/anomalyclip.safetensors"):
        file.write_bytes(b"torn")
    fits.clear()
    run(group, quiet, skip_complete=True)
    assert fits == ["AnomalyCLIP"]
    assert "AnomalyCLIP: has rows already, but its checkpoint is not in" in quiet.file.getvalue()
    assert numbers(group.board) == whole.numbers


@pytest.mark.parametrize("change", [{"seed": 2}, {"settings": {"lr": 0.5}}, {"prior": "rich"}], ids=str)
def test_a_checkpoint_of_another_training_is_not_reused(unfinished, group_in, quiet, fits, tmp_path, change):
    unfinished(lambda row: True)
    fits.clear()
    other = group_in(tmp_path, methods=("anomalyclip",), **change)
    assert run(other, quiet, skip_complete=True).rows
    assert fits == ["AnomalyCLIP"]


def test_several_groups_are_tested_in_one_pass(whole, group_in, quiet, tmp_path, scored):
    one = group_in(tmp_path, methods=("clip", "random"))
    two = group_in(tmp_path, methods=("anomalyclip",))
    three = group_in(tmp_path, methods=("anomalyclip",), settings={"temperature": 0.07})  # the default: the same cell
    four = group_in(tmp_path, methods=("clip",), settings={"temperature": 0.5})
    told = []
    together = Group([spec for group in (one, two, three, four) for spec in group.specs])
    ran = run(together, quiet, skip_complete=True, trained=lambda spec, seconds: told.append(spec))
    tested = [record.rows for record in ran.records]
    each = 3 * len((*IMAGE_KEYS, *PIXEL_KEYS))
    assert [len(rows) for rows in tested] == [each, each, each, 0, each], "what is the same cell is computed once"
    assert told == two.specs
    found = numbers(one.board)
    assert {key: found[key] for key in whole.numbers} == pytest.approx(whole.numbers, abs=1e-6)
    assert {row.variant for row in tested[4]} == {Variant({"temperature": 0.5})}
    assert len(set(ran.run_ids)) == 5


def test_whole_batches():
    samples = [Sample(f"{i}", (), 0, "aabbbc"[i], "good", "test") for i in range(6)]
    ids = lambda kept: "".join(sample.image for sample in kept)  # noqa: E731
    assert ids(resume.whole_batches(samples, {"b"}, 2)) == "2345"
    assert ids(resume.whole_batches(samples, {"a", "c"}, 2)) == "0145"
    assert ids(resume.whole_batches(samples, set(), 2)) == ""
    assert ids(resume.whole_batches(samples, {"b"}, 4)) == "012345"
