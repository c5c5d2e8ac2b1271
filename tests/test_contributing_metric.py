# pytest tests/test_contributing_metric.py
"""Who has seen only CONTRIBUTING.md can add a metric: its blocks are followed literally, and it is everywhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
SECTION = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## A metric\n")[1].split("\n## ")[0]
KEY, TITLE = re.search(r'Metric\("(\w+)", "([^"]+)"\)', SECTION).groups()
LOOK = """
import io, json, sys, warnings
warnings.simplefilter("ignore")
import torch
from rich.console import Console
from tests.made_up_rows import make_row
from zsad_bench.leaderboard.figures import style
from zsad_bench.leaderboard.page.build import write_page
from zsad_bench.leaderboard.page.content import content
from zsad_bench.results.rows import append
from zsad_bench.leaderboard.tables import pivot
from zsad_bench.leaderboard.tables.leaderboard_tables import LeaderboardLayout, build
from zsad_bench.leaderboard.tables.leaderboard_files import print_tables, readme
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.metrics import IMAGE_KEYS, PIXEL_KEYS
from zsad_bench.metrics.category import CategoryMetrics
from zsad_bench.metrics.functional.image import statistic
from zsad_bench.runner.expected_rows import metrics_of

key = sys.argv[1]
labels = torch.arange(40) % 2
maps = torch.rand(40, 6, 6, generator=torch.Generator().manual_seed(0))
masks = torch.zeros(40, 6, 6, dtype=torch.bool)
masks[labels == 1, :2, :2] = True
values, keys = {}, True
for mode in ({"mode": "exact"}, {"mode": "binned"}, {"budget": 9}, {"local": False}):
    for level, declared in (("image", IMAGE_KEYS), ("both", (*IMAGE_KEYS, *PIXEL_KEYS))):
        metrics = CategoryMetrics(level, **({} if level == "image" else mode))
        metrics.update(maps.mean((1, 2)) + 0.05 * labels, labels, maps, masks)
        found = metrics.compute()
        keys = keys and set(found) == set(declared)
        values[f"{level} {mode}"] = found[key].value
shown = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "pixel_aupro", "pixel_rcpro", key)
rows = [make_row(metric=name, method=method, value=0.123 if name == key else 0.5)
        for name in shown for method in ("clip", "dive")]
board = LeaderboardLayout("made_up", "x", {}, {}, "", "")
report = build(rows, board)
consoles = {}
for width in (80, 200):
    console = Console(width=width, file=io.StringIO())
    print_tables(rows, console, board)
    consoles[width] = console.file.getvalue()
append("board/rows/a.jsonl", rows)
print(json.dumps({
    "keys": keys, "values": values, "level": [key in metrics_of(level) for level in ("image", "pixel", "both")],
    "markdown": readme(report, []), "terminal": consoles, "page": content(report, [])["metrics"],
    "html": write_page("board", "board/index.html", board).path.read_text(), "figures": style.METRICS,
    "pivot": [c.title for c in pivot.pivot(rows, ["method"], ["metric"], {}, Facts())[0].columns],
    "statistic": statistic(key)(maps.amax((1, 2)).numpy(), labels.numpy() == 1),
}))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the package with what the page says to write: a file, and lines in two others."""
    copy = tmp_path_factory.mktemp("metric")
    # What is compiled stays, numba's too, but for files that are being written: compiling takes half of the time.
    junk = shutil.ignore_patterns("*.pyc.*", "*.tmp.*", "miniatures")
    shutil.copytree(ROOT / "zsad_bench", copy / "zsad_bench", ignore=junk)
    shutil.copytree(ROOT / "tests" / "leaderboard", copy / "tests" / "leaderboard", ignore=junk)
    whole = re.findall(r"^`([\w/]+\.py)`:\n\n```python\n(.*?)```", SECTION, re.DOTALL | re.MULTILINE)
    told = r"^In `([\w/]+\.py)`, among `(\w+)`:\n\n```text\n(.*?)```"
    lines = re.findall(told, SECTION, re.DOTALL | re.MULTILINE)
    assert (len(whole), len(lines)) == (1, 2), "the page is not written as this test follows it"
    for path, code in whole:
        assert not (copy / path).exists(), f"{path} is taken: the page must name a file that is not there"
        (copy / path).write_text(code, encoding="utf-8")
    for path, name, code in lines:
        text = (copy / path).read_text(encoding="utf-8")
        imports = [line for line in code.splitlines() if line.startswith("from ")]
        entries = "\n".join(line for line in code.splitlines() if line.startswith("    "))
        head, opened, rest = re.match(rf"(.*\n)({name}\b[^\n]*[({{][^\n]*\n)(.*)", text, re.DOTALL).groups()
        last = [*re.finditer(r"^from zsad_bench.*$", head, re.MULTILINE)][-1].end() if imports else 0
        head = head[:last] + "".join(f"\n{line}" for line in imports) + head[last:]
        (copy / path).write_text(f"{head}{opened}{entries}\n{rest}", encoding="utf-8")
    return copy


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    return subprocess.run([sys.executable, *words], cwd=checkout, env=env, capture_output=True, text=True, timeout=900,
                          check=False)  # fmt: skip


@pytest.fixture(scope="module")
def seen(checkout) -> dict:
    done = run(checkout, "-c", LOOK, KEY)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_it_has_a_value_in_every_mode_and_level(seen):
    assert seen["keys"], "what is computed is not what is declared"
    assert len(set(seen["values"].values())) == 1, f"modes differ in an image metric: {seen['values']}"
    assert 0 < next(iter(seen["values"].values())) < 1
    assert 0 <= seen["statistic"] <= 1
    assert seen["level"] == [True, False, True], "sweeps do not miss it in rows"


def test_it_is_on_every_board(seen):
    (head,) = {line for line in seen["markdown"].splitlines() if line.startswith("| method")}
    assert TITLE in head, "a new metric is a column of leaderboards unless it says otherwise"
    assert "12.3" in seen["markdown"]
    for width, text in seen["terminal"].items():
        assert "12.3" in text, f"it is not in the tables of a terminal {width} wide"
        assert max(map(len, text.splitlines())) <= int(width)
    assert [KEY, TITLE] in seen["page"]
    assert f'["{KEY}","{TITLE}"]' in seen["html"]
    assert seen["figures"][KEY] == TITLE
    assert KEY in seen["pivot"], "a pivot has no column of it"


def test_a_run_writes_rows_of_it(checkout):
    words = "bench --method clip --prior rich --suite demo --targets demo_medical --track off --executor serial"
    done = run(checkout, "-m", "zsad_bench.cli", *words.split())
    assert done.returncode == 0, done.stderr[-3000:]
    rows = (checkout / "leaderboards" / "demo" / "rows" / "clip.jsonl").read_text(encoding="utf-8")
    assert f'"metric": "{KEY}"' in rows
    assert TITLE.split()[-1] in done.stdout
