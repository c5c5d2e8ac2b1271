# pytest tests/runner/test_provenance.py
"""The commit in rows is marked when the files are others than the commit's, those that git does not know among them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from zsad_bench.runner import provenance
from zsad_bench.runner.provenance import peak_memory_mb, reset_peak_memory, state_of


@pytest.fixture
def checkout(tmp_path):
    """A repository with a package, a leaderboard and an ignored folder, all committed."""

    def git(*args):
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *args], cwd=tmp_path, check=True, capture_output=True)

    for path in ("zsad_bench/a.py", "leaderboards/t.md", "README.md", ".gitignore"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("*.pyc\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout):
    said = state_of(checkout)
    assert len(said) == 12
    assert set(said) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("path", "dirty"),
    [
        ("zsad_bench/methods/mine.py", True),
        ("zsad_bench/prompts/words.yaml", True),
        ("zsad_bench/a.py", True),
        ("README.md", True),
        ("zsad_bench/__pycache__/a.pyc", False),
        ("runs/log.txt", False),
        ("leaderboards/t.md", False),
        ("leaderboards/new.md", False),
    ],
)
def test_what_makes_it_another(checkout, path, dirty):
    (checkout / path).parent.mkdir(parents=True, exist_ok=True)
    (checkout / path).write_text("changed")
    assert state_of(checkout).endswith("+") == dirty


def test_without_git_there_is_none(tmp_path):
    assert state_of(tmp_path) == ""


def test_the_peak_of_memory_is_of_what_was_done_since():
    if torch.cuda.is_available() or not Path("/proc/self/clear_refs").exists():
        pytest.skip("resident memory cannot be reset here")
    large = np.ones(200 * 2**20, np.uint8)
    with_it = peak_memory_mb()
    del large
    reset_peak_memory()
    assert peak_memory_mb() < with_it - 100, "the peak of what was done before"


def test_a_machine_is_named_by_its_processor_and_threads(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(provenance, "processor", lambda: "EPYC")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert provenance.device() == "cpu (EPYC, 1 thread)"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert provenance.device() == "cpu (EPYC, 2 threads)"
