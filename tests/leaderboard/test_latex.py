# pytest tests/leaderboard/test_latex.py
"""The LaTeX that is written: nothing that LaTeX would trip over, and nothing cut off at the end of a line."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache

import pytest

from zsad_bench.leaderboard.tables.grid import BEST, SECOND, Column, Grid, GridCell
from zsad_bench.leaderboard.tables.papers import TABLES, numbers
from zsad_bench.leaderboard.tables.published import Facts, read_published
from zsad_bench.leaderboard.tables.render import latex

SPECIAL = "50% of {a_b} & $c^2 #1 ~x \\y – … · × Δ − ±"


@cache
def pages() -> dict[str, str]:
    """Every paper table from the printed numbers, a table of special letters and one that is far too wide."""
    found = {name: latex(numbers(name, read_published(), [], Facts())[0], f"made {name}") for name in TABLES}
    cells = [GridCell(SPECIAL, BEST), GridCell("50.0 ± 1.0 (1/2 runs)", SECOND), GridCell()]
    odd = Grid(SPECIAL, SPECIAL, [Column(SPECIAL), Column("a · b"), Column("c")], [(SPECIAL, cells)] * 2, [SPECIAL],
               frozenset({1}))  # fmt: skip
    wide = Grid("wide", "dataset", [Column(f"Method {i}: printed") for i in range(40)],
                [("a", [GridCell("50.0 ± 1.0")] * 40)])  # fmt: skip
    return found | {"odd": latex([odd], "made odd"), "wide": latex([wide], "made wide")}


@pytest.mark.parametrize("name", [*TABLES, "odd", "wide"])
def test_latex_is_plain_and_closed(name):
    text = pages()[name]
    assert text.isascii(), f"{name}: {set(re.findall(r'[^ -~]', text)) - {chr(10)}} needs a package to be typeset"
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}"), f"{name}: braces are not closed"
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") > 0, f"{name}: no whole table"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_and_fits(tmp_path):
    body = []
    for name, text in pages().items():
        (tmp_path / f"{name}.tex").write_text(text)
        body.append(f"\\input{{{name}}}\\clearpage")
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    (tmp_path / "all.tex").write_text("\n".join([head, *body, r"\end{document}"]))
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    tables = [line for line in done.stdout.splitlines() if line.startswith("Overfull \\hbox")]
    assert not tables, f"a table is wider than the page: {tables}"
