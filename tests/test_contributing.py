# pytest tests/test_contributing.py
"""Who has seen only CONTRIBUTING.md can add a method: its code blocks are followed literally, in a copy."""

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
    """A copy of what the commands need, with the file that the page says to write."""
    copy = tmp_path_factory.mktemp("clone")
    junk = shutil.ignore_patterns("__pycache__", "miniatures")
    for name in ("zsad_bench", "tests", "docs", "benchmarks"):
        shutil.copytree(ROOT / name, copy / name, ignore=junk)
    shutil.copytree(ROOT / "leaderboards" / "published", copy / "leaderboards" / "published")
    shutil.copy(ROOT / "pyproject.toml", copy)
    path, code = re.search(r"`([\w/]+\.py)`:\n\n```python\n(.*?)```", SECTION, re.DOTALL).groups()
    assert not (copy / path).exists(), f"{path} is taken: the page must name a file that is not there"
    (copy / path).write_text(code, encoding="utf-8")
    return copy


def follow(checkout: Path, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    program, *options = shlex.split(command)
    env = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", **variables}
    words = [sys.executable, *PROGRAMS[program], *options]
    return subprocess.run(words, cwd=checkout, env=env, capture_output=True, text=True, timeout=900, check=False)


def command(part: str) -> str:
    (found,) = [line for line in COMMANDS if part in line]
    return found


def test_the_method_is_listed_and_passes_the_tests_of_every_method(checkout):
    listed = follow(checkout, command(" ls "))
    assert re.search(r"^shift\b", listed.stdout, re.MULTILINE), f"not listed:\n{listed.stdout}\n{listed.stderr}"
    tested = follow(checkout, command("pytest"))
    assert tested.returncode == 0, f"the contract tests refuse the example:\n{tested.stdout[-3000:]}"
    passed = int(re.search(r"(\d+) passed", tested.stdout)[1])
    assert passed >= 15, f"only {passed} tests ran over it"


@pytest.mark.slow
def test_the_method_is_benchmarked(checkout):
    done = follow(checkout, command(" bench "))
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert (checkout / "leaderboards" / "demo" / "rows" / "shift.jsonl").is_file(), "no rows were written"
    assert "Shift" in done.stdout, f"the table does not show it:\n{done.stdout[-2000:]}"


def test_the_style_of_the_example_is_ours(checkout):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "-q", str(checkout / "zsad_bench" / "methods" / "shift.py")],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
