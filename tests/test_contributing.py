# pytest tests/test_contributing.py
"""Who has seen only CONTRIBUTING.md can add a method: its code blocks are followed literally, in a copy.

And nothing of it touches what is in git; README's own commands add rows to a board, see leaderboard/test_readme.py.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SECTION = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## A method\n")[1].split("\n## ")[0]
PROGRAMS = {".venv/bin/zsad-bench": ["-m", "zsad_bench.cli"], ".venv/bin/pytest": ["-m", "pytest", "-q", "-x"]}
COMMANDS = re.search(r"```sh\n(.*?)```", SECTION, re.DOTALL)[1].splitlines()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A clone of what the commands need, with the file that the page says to write."""
    copy = tmp_path_factory.mktemp("clone")
    junk = shutil.ignore_patterns("__pycache__", "scores", "pictures", "*.lock")
    for name in ("zsad_bench", "tests", "docs", "benchmarks", "leaderboards"):
        shutil.copytree(ROOT / name, copy / name, ignore=junk)
    for name in ("pyproject.toml", "README.md", "CONTRIBUTING.md", ".gitignore"):
        shutil.copy(ROOT / name, copy)
    git(copy, "init", "-q")
    git(copy, "add", "-A")
    git(copy, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "as cloned")
    path, code = re.search(r"`([\w/]+\.py)`:\n\n```python\n(.*?)```", SECTION, re.DOTALL).groups()
    assert not (copy / path).exists(), f"{path} is taken: the page must name a file that is not there"
    (copy / path).write_text(code, encoding="utf-8")
    return copy


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def follow(checkout: Path, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    program, *options = shlex.split(command)
    return python(checkout, *PROGRAMS[program], *options, **variables)


def python(checkout: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, timeout=1800, check=False)


def command(part: str) -> str:
    (found,) = [line for line in COMMANDS if part in line]
    return found


def test_the_method_is_listed(checkout):
    listed = follow(checkout, command(" ls "))
    assert re.search(r"^shift\b", listed.stdout, re.MULTILINE), f"not listed:\n{listed.stdout}\n{listed.stderr}"


@pytest.mark.slow
def test_the_method_passes_the_tests_of_every_method(checkout):
    tested = follow(checkout, command("pytest"))
    assert tested.returncode == 0, f"the contract tests refuse the example:\n{tested.stdout[-3000:]}"
    passed = int(re.search(r"(\d+) passed", tested.stdout)[1])
    assert passed >= 15, f"only {passed} tests ran over it"


@pytest.mark.slow
def test_the_method_is_benchmarked(checkout):
    done = follow(checkout, command(" bench "))
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert list(checkout.glob("runs/**/demo/rows/shift.jsonl")), "no rows were written"
    assert "Shift" in done.stdout, f"the table does not show it:\n{done.stdout[-2000:]}"
    changed = git(checkout, "status", "--porcelain").splitlines()
    assert changed == ["?? zsad_bench/methods/shift.py"], "a trial changed what is in git"


def test_the_style_of_the_example_is_ours(checkout):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "-q", str(checkout / "zsad_bench" / "methods" / "shift.py")],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
