# pytest tests/leaderboard/test_readme.py
"""The README's tables are those of the rows and of the papers, line by line."""

from __future__ import annotations

import re
from pathlib import Path

from zsad_bench.leaderboard.tables import papers
from zsad_bench.leaderboard.tables.published import Facts, read_published

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEMO = (ROOT / "leaderboards" / "demo" / "README.md").read_text(encoding="utf-8")
NEWER = "python -m zsad_bench.cli table demo, and copy its table into README.md"
METRICS = {
    "image AUROC": ("faprompt_1", "image_auroc"), "pixel AUROC": ("faprompt_2", "pixel_auroc"),
    "AUPRO (200 steps)": ("faprompt_2", "pixel_aupro_legacy200"),
}  # fmt: skip


def tables(text: str) -> list[list[str]]:
    """The lines of every Markdown table."""
    return [block.strip().splitlines() for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]


def part(text: str, heading: str) -> str:
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_the_demo_tables_are_those_of_the_leaderboard():
    for heading, theirs in (("The demo miniature", "Overall"), ("Real photographs", "ELPV")):
        (ours,), (expected,) = tables(part(README, heading)), tables(part(DEMO, theirs))
        assert ours == expected, f"README, {heading}: not the table of leaderboards/demo; {NEWER}"


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
