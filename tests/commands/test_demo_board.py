# pytest tests/commands/test_demo_board.py
"""The rows of the repository are those that its code computes: a run of today joins them in the same tables."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from zsad_bench import registry
from zsad_bench.leaderboard.page.gallery import PICTURE

BOARD = Path(__file__).resolve().parents[2] / "leaderboards" / "demo"


@pytest.mark.slow
def test_the_demo_sweep_has_nothing_left_to_compute(zsad, tmp_path):
    """Images, weights and configurations decide what a row is of; one reworded line of the drawing code would do."""
    if registry.load("datasets", "elpv").available() is None:
        pytest.skip("ELPV is not installed (extra `elpv`)")
    shutil.copytree(BOARD / "rows", tmp_path / "board" / "demo" / "rows")
    said = zsad("sweep", "demo", "--dry-run", "--out", "board", "--runs", "runs")
    assert said.code == 0, said.err
    waiting = [line for line in said.out.splitlines() if "waiting:" in line]
    assert not waiting, "`make sweep RECIPE=demo` would compute these anew:\n" + "\n".join(waiting)
    cells, done = map(int, re.search(r"^(\d+) cells: (\d+) done", said.out, re.MULTILINE).groups())
    assert cells == done > 0


def test_the_page_of_the_repository_shows_its_pictures():
    """They are not in git: whoever writes the page anew where the runs were not made would leave them out."""
    page = (BOARD / "index.html").read_text(encoding="utf-8")
    assert page.count(PICTURE) > 100
    said = json.loads(re.search(r'"gallery":(\{.*?"n":\d+\})', page)[1])
    assert said["n"] > 1000
