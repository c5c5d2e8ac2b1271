# pytest tests/runner/test_kept_sets.py
"""Features of a category wait for its last image in memory or on disk, and come back as they were."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.cells import run
from tests.methods.toys import load
from tests.miniature import random_batch
from tests.two_processes import by_gloo, run_script
from zsad_bench.errors import UsageError, ZsadError
from zsad_bench.methods.base import MethodConfig
from zsad_bench.planning.configure import build
from zsad_bench.results import rows as store
from zsad_bench.runner import kept_sets
from zsad_bench.runner.kept_sets import KeptSet, SetRoom
from zsad_bench.runner.run_spec import FeatureOptions
from zsad_bench.runner.shared_encoder import SharedPass
from zsad_bench.types import Features, Tap

ROOT = Path(__file__).resolve().parents[2]
SIZE, TAP = 48, Tap(2, raw=True)


def features(count: int, seed: int) -> Features:
    """Of `count` images, with everything that features can have."""
    made = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(count, *shape, generator=made)

    extra = {"alone": drawn(2), "several": {"a": drawn(3, 2), "b": drawn()}}
    return Features({TAP: drawn(5, 4)}, {"cls": drawn(3)}, (2, 2), (16, 16), extra_rows=drawn(1, 4), extra=extra)


def leaves(of: Features) -> list[torch.Tensor]:
    several = of.extra["several"]
    return [of.rows[TAP], of.pooled("cls"), of.extra_rows, of.extra["alone"], several["a"], several["b"]]


@pytest.mark.parametrize("budget", [10**6, 500, 0], ids=["in memory", "first batch in memory", "on disk"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_comes_back_is_what_was_kept(tmp_path, budget, dtype):
    parts = [features(count, seed).on_host(dtype) for seed, count in enumerate((3, 1, 2))]
    room = SetRoom(budget, tmp_path / "sets")
    kept = KeptSet(room)
    for part in parts:
        kept.add(part)
    assert room.in_memory <= budget
    found = kept.whole()
    assert room.in_memory == 0, "the next category has less room"
    assert not list((tmp_path / "sets").glob("*")) if budget < 10**6 else not (tmp_path / "sets").exists()
    expected = Features.joined(parts)
    assert found.rows[TAP].dtype == getattr(torch, dtype)
    assert (found.grid, found.n_prefix) == (expected.grid, expected.n_prefix)
    for one, other in zip(leaves(found), leaves(expected), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_a_disk_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ZsadError, match=r"cannot be kept there .* --feature-budget") as error:
        KeptSet(SetRoom(0, tmp_path / "file")).add(features(1, 0))
    assert "\n" not in str(error.value)


def test_how_much_will_wait_is_said_before(mini):
    musc = build("musc", mini, {"image_size": SIZE}, 0)
    of_one = 4 * (4 * 37 * 64 + 48)  # four blocks, 37 rows of 64, and the class feature
    counts = dict(zip(categories(), (9, 2000), strict=True))
    target, lines = SimpleNamespace(image_counts=lambda: counts), []
    kept_sets.said(FeatureOptions(budget=2 * 10**6), [musc], [target], lines.append)
    kept_sets.said(FeatureOptions(where="off", budget=10**9), [build("clip", mini, {}, 0)], [target], lines.append)
    (line,) = lines
    assert "made_up/carpet, 2000 images take 76 MB in " in line, line
    assert 2000 * of_one == pytest.approx(76e6, rel=0.01)
    assert "(memory for them: 2.0 MB" in line


def categories():
    return list(dict.fromkeys(sample.category for sample in random_batch(SIZE).samples))


# --- a pass -----------------------------------------------------------------------------------------------------------


def test_a_pass_that_has_no_memory_scores_the_same(mini, tmp_path):
    """And gives up what is not due: a resumed run sees a part of other categories."""
    batch, found = random_batch(SIZE, 11), []
    for room in (SetRoom(10**9), SetRoom(0, tmp_path)):
        method = build("musc", mini, {"image_size": SIZE}, 0).eval()
        shared = SharedPass({"it": method}, due={"it": {"metal_nut"}}, room=room).eval()
        with torch.no_grad():
            assert shared.test_step(batch, 0) == {}, "it says something of a batch"
        nut, carpet = categories()
        assert shared.finish(carpet) == {}
        found.append(shared.finish(nut)["it"])
    assert len(found[0].score) == 6
    assert torch.equal(found[0].score, found[1].score)
    assert torch.equal(found[0].map, found[1].map)


def test_several_processes_are_refused_in_one_line(mini):
    shared = SharedPass({"it": build("musc", mini, {"image_size": SIZE}, 0)})
    shared.trainer = SimpleNamespace(world_size=2)
    with pytest.raises(UsageError) as error:
        shared.on_test_start()
    assert str(error.value) == (
        "MuSc needs all images of a category at once, and 2 processes share them; test it with one process"
    )


SCRIPT = """
from lightning.pytorch import Trainer
import zsad_bench as zb
from zsad_bench.errors import UsageError
from zsad_bench.runner.shared_encoder import SharedPass

method = zb.load_method("musc", backbone="tiny")
data = zb.load_dataset("demo_textures", method, scale=0.1, batch_size=3)
trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_progress_bar=False)
try:
    trainer.test(SharedPass({"it": method}), datamodule=data, verbose=False)
except UsageError as error:
    with open(f"rank{trainer.global_rank}.txt", "w") as file:
        file.write(f"{trainer.world_size}: {error}")
"""


@pytest.mark.slow
@by_gloo
def test_two_processes_refuse_it_and_end(tmp_path):
    run_script(tmp_path, SCRIPT)
    line = "2: MuSc needs all images of a category at once, and 2 processes share them; test it with one process"
    assert [(tmp_path / f"rank{rank}.txt").read_text() for rank in range(2)] == [line, line]


# --- a run ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_rows_say_which_set_they_are_of(group_in, quiet, tmp_path, monkeypatch):
    def rows_of(name, scale, methods=("musc", "clip")):
        monkeypatch.setattr("tests.miniature.SCALE", scale)
        group = group_in(tmp_path / name, methods=methods, prior="none")
        return group, run(group, quiet).rows

    group, rows = rows_of("one", 0.1)
    mine = [row for row in rows if row.method == "musc"]
    assert {row.transductive for row in mine} == {True}
    sets = {row.category: row.set_hash for row in mine}
    assert len(sets) == len(set(sets.values())) == 3
    assert all(len(each) == 16 for each in sets.values())
    assert {row.set_hash for row in rows if row.method == "clip"} == {""}
    assert {row.gflops for row in mine} == {None}
    assert "operations of an image are not counted" in quiet.file.getvalue().replace("\n", " ")
    assert store.load(group.board / "rows" / "musc.jsonl") == mine
    _, others = rows_of("other", 0.12, methods=("musc",))
    assert not {row.key for row in others} & {row.key for row in mine}, "another set has the same key"
    assert not {row.set_hash for row in others} & set(sets.values())
    # Resumed: batches that hold the missing category hold a part of another one too.
    monkeypatch.setattr("tests.miniature.SCALE", 0.1)
    (tmp_path / "one" / "board" / "rows" / "musc.jsonl").write_text(
        "".join(row.to_json() + "\n" for row in mine if row.category != "terrazzo")
    )
    again = run(group, quiet, skip_complete=True).rows
    assert {row.category for row in again} == {"terrazzo"}
    known = {row.metric: row.value for row in mine if row.category == "terrazzo"}
    assert {row.metric: row.value for row in again} == pytest.approx(known, abs=1e-6)


def test_a_category_that_is_too_small_is_refused_before_anything_runs(group_in, quiet, tmp_path):
    group = group_in(tmp_path, methods=("musc",), prior="none")  # two of each label
    with pytest.raises(UsageError, match=r"needs at least 5; demo_textures/\w+ has 4 images; leave it out"):
        run(group, quiet)
    assert not group.board.exists()


def test_images_that_may_be_skipped_are_no_set(mini):
    method = load("toy_transductive")(mini, MethodConfig(image_size=SIZE))
    data = SimpleNamespace(on_bad_image="skip", name="cloth", image_counts=dict)
    with pytest.raises(UsageError, match="another set of cloth; leave out --on-bad-image skip"):
        kept_sets.check(method, data)
    kept_sets.check(build("clip", mini, {}, 0), data)
