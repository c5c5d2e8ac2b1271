# pytest tests/leaderboard/test_unverified.py
"""A method that was never compared with its official code has a sign behind its name, and the reason below."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.made_up_rows import make_row
from zsad_bench.commands._row_selection import all_facts, unverified_methods
from zsad_bench.commands.table import layout
from zsad_bench.leaderboard.page.content import content
from zsad_bench.leaderboard.tables import papers, pivot, prior_curve, render, robustness
from zsad_bench.leaderboard.tables.grid import BEST
from zsad_bench.leaderboard.tables.leaderboard_files import readme
from zsad_bench.leaderboard.tables.leaderboard_tables import build
from zsad_bench.leaderboard.tables.published import Entry, Facts, Published
from zsad_bench.planning.suite import DEMO
from zsad_bench.variant import PLAIN

WHY = {"clip": "its code was not opened"}
FACTS = Facts(titles={"clip": "CLIP", "dive": "DIVE", "cloth": "Cloth"}, built=frozenset({"clip", "dive"}),
              unverified=WHY)  # fmt: skip
NOTE = "¶ Not verified against official code: CLIP (its code was not opened)."


def rows_of(**changes):
    return [make_row(method=name, value=value, **changes) for name, value in (("clip", 0.9), ("dive", 0.5))]


def test_methods_declare_it():
    facts = all_facts()
    assert {"af_clip", "mrad"} <= facts.unverified.keys() == unverified_methods().keys()
    assert "anomalyclip" not in facts.unverified, "it is compared with its official code"
    assert layout(DEMO).unverified == facts.unverified
    both = facts.unverified_notes({"af_clip", "mrad", "clip"})
    assert both == [
        "¶ Not verified against official code: AF-CLIP, MRAD-TF (the official code has no licence and was not opened)."
    ]


def test_boards_and_the_page_show_it(board):
    report = build(rows_of(), replace(board, unverified=WHY))
    (table,) = report.tables
    assert [line.label for line in table.lines] == ["CLIP¶", "dive"]
    assert table.marked == [NOTE]
    assert table.lines[0].cell("image_auroc").rank == BEST, "the sign takes nothing from a number's rank"
    assert "\n| CLIP¶ " in readme(report, [])
    (shown,) = content(report, [])["tables"]
    assert list(shown["remarks"].values()) == [{"¶": "not verified against official code: its code was not opened"}]
    assert shown["marked"] == [NOTE]
    assert {record["method"] for record in table.records()} == {"clip", "dive"}, "the sign is for people"


@pytest.mark.parametrize(("lines", "columns"), [(["dataset"], ["method"]), (["method"], ["dataset"])])
def test_pivots_and_latex_show_it(lines, columns):
    grid, records = pivot.pivot(rows_of(), lines, columns, {}, FACTS)
    names = [column.title for column in grid.columns] if columns == ["method"] else [label for label, _ in grid.lines]
    assert names == ["CLIP¶", "DIVE"]
    assert grid.notes[-1] == NOTE
    assert {record["method"] for record in records} == {"CLIP", "DIVE"}
    assert r"CLIP\P{}" in render.latex([grid], "x")


def test_paper_tables_robustness_and_prior_curves_show_it():
    published = [Published("faprompt_1", "s", Entry(name, "", PLAIN), "cloth", "industrial", "rich", "image_auroc", 0.5)
                 for name in ("clip", "dive")]  # fmt: skip
    grids, _ = papers.numbers("faprompt_1", published, rows_of(), FACTS)
    assert "CLIP¶" in [column.title for column in grids[0].columns]
    assert NOTE in grids[-1].notes
    unmeasured, _ = papers.numbers("faprompt_1", published, rows_of()[1:], FACTS)
    assert NOTE not in unmeasured[-1].notes, "printed numbers are the authors' own"
    conditions = [*rows_of(), *rows_of(data_options="corruption=jpeg:3")]
    grid, *_ = robustness.table(robustness.lines(conditions, {"image": ("cloth",)}), FACTS)[0]
    assert [label for label, _ in grid.lines] == ["CLIP¶", "DIVE"]
    assert grid.notes[-1] == NOTE
    curves = [row for x in (1, 5) for row in rows_of(prior=f"mvtec:types={x}")]
    (grid,), _ = prior_curve.table(prior_curve.curves(curves, {"image": ("cloth",), "pixel": ()}), FACTS)
    assert [label for label, _ in grid.lines] == ["CLIP¶ · mvtec", "DIVE · mvtec"]
    assert grid.notes[-1] == NOTE
