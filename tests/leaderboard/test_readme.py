# pytest tests/leaderboard/test_readme.py
"""The README's tables are those of the rows and of the papers, line by line."""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from msgspec.structs import replace

from zsad_bench.data import catalog
from zsad_bench.leaderboard.tables import papers
from zsad_bench.leaderboard.tables.published import Facts, read_published
from zsad_bench.planning.suite import PAPER
from zsad_bench.results import rows as store
from zsad_bench.results.row import Row

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BOARD = ROOT / "leaderboards" / "demo"
NEWER = "python benchmarks/readme_board.py"
METRICS = {
    "image AUROC": ("faprompt_1", "image_auroc"), "pixel AUROC": ("faprompt_2", "pixel_auroc"),
    "AUPRO (200 steps)": ("faprompt_2", "pixel_aupro_legacy200"),
}  # fmt: skip


def tables(text: str) -> list[list[str]]:
    """The lines of every Markdown table."""
    return [block.strip().splitlines() for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]


def part(text: str, heading: str) -> str:
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def named(rows: Path) -> list[Row]:
    """The demo board's rows of the commits that README names: whoever runs a method adds others."""
    (said,) = re.findall(r"Rows of commit (.*)\.$", README, re.MULTILINE)
    commits = set(said.split(", "))
    kept = [row for row in store.load(rows) if row.commit in commits]
    assert {row.commit for row in kept} == commits, f"leaderboards/demo has no rows of a commit of {said}; {NEWER}"
    return kept


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("readme_board")


@pytest.fixture(scope="module")
def demo(script) -> str:
    return script.block(named(BOARD / "rows"))


def test_the_demo_table_is_that_of_the_leaderboard(demo, script):
    said = README.partition(script.BEGIN)[2].partition(script.END)[0].strip()
    assert said == demo, f"README, the demo board: not what the rows of leaderboards/demo say; {NEWER}"


def test_the_demo_table_has_every_method_with_its_photographs(script):
    below = part(README, "The demo board").partition(script.END)[2]
    (lines,) = tables(part(README, "The demo board"))
    assert len(lines) - 2 == len({(row.method, row.prior) for row in named(BOARD / "rows")})
    for line in lines[2:]:
        assert all(cell.strip() for cell in line.strip("|").split("|")), f"a number is missing: {line}"
    for mark in set(re.findall(r"[§¶¹²³]", "".join(lines))):
        assert f"{mark} " in below, f"no note for {mark}"


def test_what_is_benched_in_a_checkout_is_not_held_against_this_page(demo, script, tmp_path):
    """`make bench` adds rows: other values of a method that stands here, and a method that is new."""
    rows = shutil.copytree(BOARD / "rows", tmp_path / "rows")
    now = {"commit": "0123456789ab", "run_id": "20991231T000000.000000Z-0", "started": store.now()}
    no_interval = dict.fromkeys(("ci_low", "ci_high", "ci_level"))
    for name in ("clip", "shift"):
        seen = store.load(rows / "clip.jsonl")
        halved = [replace(r, **now, **no_interval, method=name, value=r.value and r.value / 2) for r in seen]
        store.append(rows / f"{name}.jsonl", halved)
    assert script.block(named(rows)) == demo


def test_the_printed_means_are_those_of_the_published_numbers():
    published = read_published()
    titles = {p.entry.method: p.entry.method for p in published}
    names = {"CLIP": "clip", "CLIP-AC": "clip_ac", "WinCLIP": "winclip", "CoOp": "coop", "CoCoOp": "cocoop",
             "AnomalyCLIP": "anomalyclip", "FAPrompt": "faprompt"}  # fmt: skip
    facts = Facts(titles=titles, built=frozenset(titles), official=frozenset(), counts={}, footnotes={})
    (lines,) = tables(part(README, "The papers' tables"))
    heads = [cell.strip() for cell in lines[0].strip("|").split("|")][1:]
    found = {}
    for line in lines[2:]:
        name, *values = (cell.strip() for cell in line.strip("|").split("|"))
        found[names[name]] = dict(zip(heads, values, strict=True))
    assert set(found) == set(names.values())
    for head in heads:
        metric, domain, count = re.fullmatch(r"(.*), (industrial|medical) \((\d+)\)", head).groups()
        table, key = METRICS[metric]
        grids, _ = papers.numbers(table, published, [], facts)
        (grid,) = [one for one in grids if one.title.endswith(papers.METRICS[key])]
        cells = dict(grid.lines)[f"{domain.capitalize()} mean ({count})"]
        printed = {column.title: cell.text for column, cell in zip(grid.columns, cells, strict=True)}
        for method, values in found.items():
            assert values[head] == printed[f"{method}: printed"], f"README, {method}, {head}"


WORDS = dict(
    zip("six seven eight nine ten eleven twelve nineteen twenty".split(), [*range(6, 13), 19, 20], strict=True)
)


def test_the_counts_of_datasets_are_those_of_the_suite():
    """Of the papers' datasets: another one that is registered makes no sentence untrue."""
    cards = [cls for cls in catalog.real() if cls.name in PAPER.targets]
    kinds = {kind: sum(cls.domain == kind for cls in cards) for kind in ("industrial", "medical")}
    (said,) = re.findall(r"(\w+) industrial and (\w+) medical datasets of the papers", README)
    assert [WORDS[word.lower()] for word in said] == [kinds["industrial"], kinds["medical"]]
    docs = {name: (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("datasets.md", "design.md")}
    for name, pattern in (
        ("datasets.md", r"(\w+) datasets of the papers"),
        ("design.md", r"the papers' (\w+) datasets"),
    ):
        (word,) = re.findall(pattern, docs[name])
        assert WORDS[word.lower()] == len(PAPER.targets), f"docs/{name}: {word} datasets"
    (word,) = re.findall(r"the table of all (\w+) of the papers", README)
    assert WORDS[word] == len(PAPER.targets)
