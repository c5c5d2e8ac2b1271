# pytest tests/commands/test_rows_costs.py
"""What configurations compute is counted for rows that do not say it, from the rows alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from zsad_bench.commands.rows_costs import without
from zsad_bench.results import computation
from zsad_bench.results.rows import append, load

BOARD = Path(__file__).resolve().parents[2] / "leaderboards" / "demo"
METHODS = ("clip", "coop", "random")


@pytest.fixture
def older(tmp_path):
    """A row of each of some methods of the board, as it was before rows said it."""
    rows = [load(BOARD / "rows" / f"{name}.jsonl")[0] for name in METHODS]
    rows = [replace(row, trained_parameters=None, gflops=None) for row in rows]
    append(tmp_path / "leaderboards" / "demo" / "rows" / "some.jsonl", rows)
    return rows


def test_the_board_of_the_repository_has_all_of_its_configurations():
    assert without(load(BOARD / "rows"), computation.read(BOARD)) == {}, "run `zsad-bench rows costs demo`"


def test_configurations_are_built_again_and_counted(zsad, older, tmp_path):
    said = zsad("rows", "costs", "demo")
    assert (said.code, said.err) == (0, "")
    assert said.out.endswith("costs.json: 3 configurations, 3 of them new\n")
    found = computation.read(tmp_path / "leaderboards" / "demo")
    committed = computation.read(BOARD)
    assert found == {computation.Configuration.of(row): committed[computation.Configuration.of(row)] for row in older}
    before = (tmp_path / "leaderboards" / "demo" / "costs.json").read_bytes()
    said = zsad("rows", "costs", "demo")
    assert said.out.endswith("costs.json: 3 configurations, 0 of them new\n")
    assert (tmp_path / "leaderboards" / "demo" / "costs.json").read_bytes() == before
    assert zsad("table", "demo").code == 0
    assert "1,536" in (tmp_path / "leaderboards" / "demo" / "README.md").read_text(encoding="utf-8"), "CoOp's context"


def test_what_this_code_would_not_make_is_named_and_not_guessed(zsad, older, tmp_path):
    clip = next(row for row in older if row.method == "clip")
    others = [replace(clip, config_hash="c0ffee"), replace(clip, method_version="0"), replace(clip, method="gone")]
    append(tmp_path / "leaderboards" / "demo" / "rows" / "more.jsonl", others)
    said = zsad("rows", "costs", "demo")
    assert said.code == 0
    lines = said.out.splitlines()
    assert len(lines) == 4, said.out
    assert any("configuration c0ffee; this code makes" in line for line in lines)
    assert any("version 0," in line for line in lines)
    assert any(line.startswith("gone is not counted: ") for line in lines)
    assert "3 configurations, 3 of them new" in lines[-1]


def test_rows_that_say_it_need_no_file(zsad, tmp_path):
    row = replace(load(BOARD / "rows" / "clip.jsonl")[0], trained_parameters=0, gflops=0.1)
    append(tmp_path / "leaderboards" / "demo" / "rows" / "clip.jsonl", [row])
    said = zsad("rows", "costs", "demo")
    assert said.out.endswith("costs.json: 0 configurations, 0 of them new\n")
    assert not (tmp_path / "leaderboards" / "demo" / "costs.json").exists()


def test_no_rows_and_no_suite_are_one_line(refused):
    assert "leaderboards/paper/rows: cannot read rows" in refused(1, "rows", "costs", "paper")
    assert "unknown suite 'demmo'; did you mean demo?" in refused(2, "rows", "costs", "demmo")
