# pytest tests/commands/test_early.py
"""What would end a command after its work ends it before: places that cannot be written, row files that are held."""

from __future__ import annotations

import pytest

from tests.commands.test_usage import FIELDS, TREE, required, words
from zsad_bench.runner import run_group

CASES = [(path, field) for path in TREE for field in FIELDS[path] if field.option.writes]


@pytest.mark.parametrize(("path", "field"), CASES, ids=lambda one: getattr(one, "name", None) or " ".join(one))
def test_an_output_that_cannot_be_written_is_told_first(refused, tmp_path, monkeypatch, path, field):
    monkeypatch.setattr(TREE[path], "run", lambda options: pytest.fail("it began its work"))
    (tmp_path / "a file").touch()
    others = words(one for one in required(path) if one is not field)
    for place in ["a file", "a file/below"] if field.option.writes == "folder" else [".", "a file/below.csv"]:
        line = refused(2, *path, *others, field.name, str(tmp_path / place))
        assert f"{field.name} {tmp_path}" in line, line
        assert "is a file; name a folder" in line or "is a folder; name a file" in line, line


def test_a_dry_run_tries_only_where_its_plan_is_kept(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(TREE["sweep",], "run", lambda options: 0)
    (tmp_path / "a file").touch()
    assert "--runs" in refused(2, "sweep", "demo", "--dry-run", "--out", "a file", "--runs", "a file")
    assert "--out" in refused(2, "sweep", "demo", "--out", "a file")


@pytest.mark.usefixtures("small")
def test_rows_that_could_not_be_appended_are_told_before_training(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(run_group, "fit", lambda *_: pytest.fail("it trained first"))
    monkeypatch.setattr(run_group.test_pass, "test", lambda *_: pytest.fail("it tested first"))
    (tmp_path / "leaderboards/demo/rows/anomalyclip.jsonl").mkdir(parents=True)
    line = refused(1, "bench", "--suite", "demo", "--method", "anomalyclip", "--prior", "limited", "--targets",
                   "demo_textures", "--set", "image_size=32")  # fmt: skip
    assert "anomalyclip.jsonl: rows could not be appended" in line
    assert not (tmp_path / "runs").exists(), "a run that never was left a folder"
