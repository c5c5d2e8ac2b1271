# pytest tests/commands/test_early.py
"""What would end a command after its work ends it before: places that cannot be written, row files that are held."""

from __future__ import annotations

import pytest

from tests.commands.test_usage import TREE, needed, words
from zsad_bench import cli
from zsad_bench.runner import run_group

CASES = [
    (command, option, kind)
    for command, written in cli.WRITES.items()
    for kind, options in zip(("folder", "file"), written, strict=True)
    for option in options
]


@pytest.mark.parametrize(("command", "option", "kind"), CASES)
def test_an_output_that_cannot_be_written_is_told_first(refused, tmp_path, monkeypatch, command, option, kind):
    monkeypatch.setattr(cli, "_commands", lambda: {command: lambda options: pytest.fail("it began its work")})
    (tmp_path / "a file").touch()
    path = tuple(command.split())
    required = [one for one in needed(TREE[path]) if one.dest != option]
    for place in ["a file", "a file/below"] if kind == "folder" else [".", "a file/below.csv"]:
        line = refused(2, *path, *words(required), f"--{option}", str(tmp_path / place))
        assert f"--{option} {tmp_path}" in line, line
        assert "is a file; name a folder" in line or "is a folder; name a file" in line, line


@pytest.mark.usefixtures("small")
def test_rows_that_could_not_be_appended_are_told_before_training(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(run_group, "fit", lambda *_: pytest.fail("it trained first"))
    monkeypatch.setattr(run_group.passes, "test", lambda *_: pytest.fail("it tested first"))
    (tmp_path / "leaderboards/demo/rows/anomalyclip.jsonl").mkdir(parents=True)
    line = refused(1, "bench", "--suite", "demo", "--method", "anomalyclip", "--prior", "limited", "--targets",
                   "demo_textures", "--set", "image_size=32")  # fmt: skip
    assert "anomalyclip.jsonl: rows could not be appended" in line
    assert not (tmp_path / "runs").exists(), "a run that never was left a folder"
