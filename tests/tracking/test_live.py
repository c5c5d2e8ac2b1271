# pytest tests/tracking/test_live.py
"""A cell group that is mirrored: its curves, rows and maps are there, its numbers are unchanged, nothing stops it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import wandb

from tests.cells import Group, run
from tests.miniature import shrink
from tests.tracking.offline import Kept, runs_below
from zsad_bench.planning.suite import DEMO
from zsad_bench.results import pictures
from zsad_bench.results import rows as store
from zsad_bench.runner.run_spec import RunSpec
from zsad_bench.runner.wandb_reporter import open_mirror
from zsad_bench.tracking.run_summary import summary

METHODS = ("clip", "anomalyclip")


@pytest.fixture(scope="module")
def small(mini) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, mini)
        yield


@pytest.fixture
def group_in(small) -> Callable[..., Group]:
    suite = replace(DEMO, overrides={"*": {"image_size": 32}})

    def group(folder: Path, methods: Sequence[str] = METHODS, **fields) -> Group:
        usual = {"suite": suite, "prior": "limited", "targets": ("demo_textures",), "seed": 1,
                 "epochs": 2, "board": folder / "board", "runs": folder / "runs"}  # fmt: skip
        return Group([RunSpec(method=method, **{**usual, **fields}) for method in methods])

    return group


def mirrored(group: Group, console, asked: str = "offline", **options) -> list[store.Row]:
    with open_mirror(asked, group.runs, "bench-1", console) as mirror:
        return run(group, console, mirror=mirror, **options).rows


def by_method(found: list[Kept]) -> dict[str, list[Kept]]:
    return {name: [kept for kept in found if kept.config["method"] == name] for name in METHODS}


@pytest.mark.slow
def test_curves_means_table_and_maps(group_in, quiet, tmp_path):
    group = group_in(tmp_path)
    rows = mirrored(group, quiet)
    kept = by_method(runs_below(group.runs))
    assert [len(found) for found in kept.values()] == [1, 1], "a run for each method"
    (trained,), (frozen,) = kept["anomalyclip"], kept["clip"]
    assert trained.tags == ("anomalyclip", "prior limited", "suite demo")
    assert (trained.group, trained.exit_code) == ("bench-1", 0)
    (folder,) = [path.name for path in group.runs.glob("*/anomalyclip/*")]
    steps, losses = trained.curve(f"train/{folder}/step"), trained.curve(f"train/{folder}/loss")
    assert steps == list(range(1, len(steps) + 1)), "a step is missing or told twice"
    assert len(losses) == len(steps) > 2
    assert trained.curve(f"epoch/{folder}/epoch") == [1, 2]
    assert any(name.startswith(f"epoch/{folder}/loss_") for name in trained.summary), (
        "the terms of the loss are missing"
    )
    assert not any("/loss" in name for name in frozen.summary), "CLIP does not train"
    for name, (found,) in kept.items():
        own = [row.record() for row in rows if row.method == name]
        expected = summary(own, ("demo_textures",))
        assert {key: found.summary[key] for key in expected} == expected, f"{name}: not the rows' means"
        columns, lines = found.table()
        assert len(lines) == 3, "a line for each category"
        values = {(row["category"], row["metric"]): row["value"] for row in own}
        for line in lines:
            told = dict(zip(columns, line, strict=True))
            assert told["image_auroc"] == values[told["category"], "image_auroc"]
        (maps,) = found.curve("maps/demo_textures")
        picked = pictures.read_pictures(group.board / "pictures", own[0]["key"])
        assert len(maps["captions"]) == len(picked) > 0
        assert all((found.files / file).is_file() for file in maps["filenames"])
    assert "wandb" not in quiet.file.getvalue()


def test_the_numbers_are_those_of_a_run_without_it(group_in, quiet, tmp_path):
    with_it = mirrored(group_in(tmp_path / "with", methods=("anomalyclip",)), quiet)
    without = run(group_in(tmp_path / "without", methods=("anomalyclip",)), quiet).rows
    told, plain = ({(r.method, r.key, r.category, r.metric): r.value for r in rows} for rows in (with_it, without))
    assert told == plain, "tracking moved a number"


def test_a_resumed_cell_has_one_run_and_all_its_rows(group_in, quiet, tmp_path):
    whole = mirrored(group_in(tmp_path), quiet)
    file = tmp_path / "board" / "rows" / "anomalyclip.jsonl"
    kept_lines = [line for line in file.read_text().splitlines(keepends=True) if '"category": "carpet"' not in line]
    file.write_text("".join(kept_lines))
    added = mirrored(group_in(tmp_path), quiet, skip_complete=True)
    assert {row.category for row in added} == {"carpet"}
    found = by_method(runs_below(tmp_path / "runs"))
    assert len(found["clip"]) == 1, "what had all its rows was not run again"
    first, second = found["anomalyclip"]
    assert first.id == second.id, "a resumed cell made a second run"
    assert first.table() == second.table(), "rows of before the stop are missing"
    assert len(whole) > len(added)


def test_pictures_that_may_not_be_passed_on_stay_here(group_in, quiet, tmp_path, monkeypatch):
    from zsad_bench.data.demo.module import DemoDataModule

    monkeypatch.setattr(DemoDataModule, "redistribute", False)
    group = group_in(tmp_path, methods=("clip",))
    mirrored(group, quiet)
    (kept,) = runs_below(group.runs)
    assert list((group.board / "pictures").glob("*/*/picks.json")), "no pictures were kept at all"
    assert not any(name.startswith("maps/") for name in kept.summary), "a picture left the machine"


@pytest.mark.parametrize(
    "trouble", ["unreachable", "wrong key", "read-only folder", "broken wandb", "damaged pictures"]
)
def test_trouble_is_one_warning_and_the_run_goes_on(group_in, quiet, tmp_path, monkeypatch, server, no_folder, trouble):
    asked = "auto"
    if trouble == "unreachable":
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    elif trouble == "wrong key":
        server(lambda question: (401, b""))
    elif trouble == "read-only folder":
        asked = "offline"
        monkeypatch.setenv("WANDB_DIR", str(no_folder))
    elif trouble == "broken wandb":
        asked = "offline"
        monkeypatch.setattr(wandb, "init", lambda **options: 1 / 0)
    else:
        asked = "offline"
        monkeypatch.setattr("zsad_bench.runner.wandb_reporter.read_pictures", lambda *of: 1 / 0)
    rows = mirrored(group_in(tmp_path, methods=("anomalyclip",)), quiet, asked)
    assert {row.category for row in rows} == {"perforated", "terrazzo", "carpet"}, "the run ended early"
    said = [line for line in quiet.file.getvalue().splitlines() if "wandb" in line]
    assert len(said) == 1, f"expected one warning, found {said}"
    assert "going on" in said[0]
    offline = trouble in ("unreachable", "wrong key")
    assert bool(runs_below(tmp_path / "runs")) == (offline or trouble == "damaged pictures")
