"""The command line as a user meets it: exit code, what it printed, and that a refusal is one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.miniature import shrink
from zsad_bench.cli import main


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def zsad(monkeypatch, capsys, tmp_path) -> Callable[..., Said]:
    """zsad("ls", "methods"): runs the command line in this process, in an empty folder."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["zsad-bench", *args])
        try:
            code = main()
        except SystemExit as error:
            code = error.code
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def refused(zsad) -> Callable[..., str]:
    """refused(code, *args): the one line on standard error, of a command that ended with this code."""

    def run(code: int, *args: str) -> str:
        said = zsad(*args)
        assert said.code == code, f"exit code {said.code}, expected {code}: {said.err}"
        assert "Traceback" not in said.err, said.err
        lines = said.err.splitlines()
        assert len(lines) == 1, f"expected one line on standard error, found {len(lines)}:\n{said.err}"
        return lines[0]

    return run


@pytest.fixture
def small(monkeypatch, mini) -> None:
    """Runs read the random miniature and a few images of each generated dataset."""
    shrink(monkeypatch, mini)
