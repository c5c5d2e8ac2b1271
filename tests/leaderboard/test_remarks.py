# pytest tests/leaderboard/test_remarks.py
"""What a method remarks on its numbers stands beside its name in every table, and in words below."""

from __future__ import annotations

import csv
import io

import pytest

from tests import chromium
from tests.made_up_rows import make_row
from zsad_bench.console import Console
from zsad_bench.leaderboard.page.build import write_page
from zsad_bench.leaderboard.page.content import content
from zsad_bench.leaderboard.tables import papers, pivot, prior_curve, render
from zsad_bench.leaderboard.tables.grid import BEST
from zsad_bench.leaderboard.tables.leaderboard_files import print_tables, readme
from zsad_bench.leaderboard.tables.leaderboard_tables import build
from zsad_bench.leaderboard.tables.published import Entry, Facts, Published
from zsad_bench.results.rows import append
from zsad_bench.variant import PLAIN

FACTS = Facts(titles={"clip": "CLIP", "dive": "DIVE", "cloth": "Cloth"}, built=frozenset({"clip", "dive"}))
HEAD = "Remark of the method, so not compared with printed numbers"


def rows_of():
    """CLIP is the best, and remarks on one of two categories of cloth and on all of parts, with other words there."""
    rows = [make_row(method="dive", category=of, value=0.5) for of in ("carpet", "grid")]
    rows += [make_row(method="clip", category="carpet", value=0.9, remark="generic details")]
    rows += [make_row(method="clip", category="grid", value=0.9)]
    rows += [make_row(method="clip", target="parts", category="bolt", value=0.9, remark="by <one> | word.")]
    return [*rows, make_row(method="dive", target="parts", category="bolt", value=0.5)]


def test_a_board_has_a_mark_beside_the_name_and_the_words_below(board):
    report = build(rows_of(), board)
    overall, cloth, parts = report.tables
    assert [line.label for line in overall.lines] == ["CLIP¹,²", "dive"]
    assert [line.label for line in cloth.lines] == ["CLIP²", "dive"], "a mark has to mean the same in every table"
    assert [line.label for line in parts.lines] == ["CLIP¹", "dive"]
    assert cloth.marked == [f"² {HEAD}: generic details. CLIP (Cloth/carpet)."]
    assert parts.marked == [f"¹ {HEAD}: by <one> | word. CLIP."], "a remark on all categories names none"
    assert overall.marked == [
        f"¹ {HEAD}: by <one> | word. CLIP (Parts/bolt).",
        f"² {HEAD}: generic details. CLIP (Cloth/carpet).",
    ]
    assert cloth.lines[0].cell("image_auroc").text == "90.0"
    assert cloth.lines[0].cell("image_auroc").rank == BEST, "a remark takes nothing from a number's rank"
    page = readme(report, [])
    assert "| CLIP¹,² | none " in page
    assert f"² {HEAD}: generic details. CLIP (Cloth/carpet). [CSV](cloth.csv)" in page
    assert f"¹ {HEAD}: by &lt;one> \\| word. CLIP. [CSV]" in page, "a remark may not make elements or columns"


def test_a_board_without_remarks_has_no_mark(board):
    report = build([make_row(method="clip"), make_row(method="dive")], board)
    assert "¹" not in readme(report, [])
    assert content(report, [])["tables"][0]["remarks"] == {}


def test_csv_files_have_a_column(board):
    for table, of_clip in zip(
        build(rows_of(), board).tables, ("by <one> | word.; generic details", "generic details", "by <one> | word."),
        strict=True,
    ):  # fmt: skip
        lines = list(csv.DictReader(io.StringIO(render.as_csv(table.records()))))
        assert {line["method"]: line["remark"] for line in lines} == {"clip": of_clip, "dive": ""}


def test_terminals_show_it(board):
    for encoding, name, mark in (("utf-8", "CLIP¹,²", "²"), ("ascii", "CLIP(1),(2)", "(2)")):
        console = Console(width=100, file=io.TextIOWrapper(io.BytesIO(), encoding=encoding))
        print_tables(rows_of(), console, board)
        console.file.seek(0)
        said = console.file.read()
        assert name in said
        assert f"{mark} {HEAD}: generic details. CLIP (Cloth/carpet)." in said


@pytest.mark.parametrize(("lines", "columns"), [(["dataset"], ["method"]), (["method"], ["dataset"])])
def test_pivots_and_latex_show_it(lines, columns):
    grid, records = pivot.pivot(rows_of(), lines, columns, {}, FACTS)
    names = [column.title for column in grid.columns] if columns == ["method"] else [label for label, _ in grid.lines]
    assert names == ["CLIP¹,²", "DIVE"]
    assert grid.notes[-1] == f"² {HEAD}: generic details. CLIP (Cloth/carpet)."
    assert [record["remark"] for record in records if record["method"] == "CLIP"] == [
        "generic details", "by <one> | word.",
    ]  # fmt: skip
    assert r"CLIP\textsuperscript{1},\textsuperscript{2}" in render.latex([grid], "x")


def test_the_papers_tables_show_it():
    for name, metric in (("faprompt_1", "image_auroc"), ("faprompt_3", "image_auroc")):
        published = [Published(name, "s", Entry(m, "", PLAIN), "cloth", "industrial", "rich", metric, 0.5)
                     for m in ("clip", "dive")]  # fmt: skip
        published += [p._replace(table="faprompt_1") for p in published]  # what the means are over
        rows = [row for row in rows_of() if row.target == "cloth"]
        grids, _ = papers.numbers(name, published, rows, FACTS)
        names = [*(column.title for column in grids[0].columns), *(label for label, _ in grids[0].lines)]
        assert [text for text in names if text.startswith("CLIP") and "printed" not in text] == ["CLIP¹"]
        assert f"¹ {HEAD}: generic details. CLIP (Cloth/carpet)." in grids[-1].notes


def test_prior_curves_show_it():
    rows = [make_row(remark="generic details", method="clip", prior=f"mvtec:types={x}", value=0.9) for x in (1, 5)]
    rows += [make_row(method="dive", prior=f"mvtec:types={x}") for x in (1, 5)]
    (grid,), records = prior_curve.table(prior_curve.curves(rows, {"image": ("cloth",), "pixel": ()}), FACTS)
    assert [label for label, _ in grid.lines] == ["CLIP · mvtec¹", "DIVE · mvtec"]
    assert grid.notes[-1] == f"¹ {HEAD}: generic details. CLIP · mvtec (Cloth/carpet)."
    assert {record["remark"] for record in records if record["method"] == "clip"} == {"generic details"}


@pytest.mark.skipif(not chromium.FOUND, reason="no chromium here (Debian: apt-get install chromium)")
def test_the_page_shows_it(board, tmp_path):
    append(tmp_path / "rows" / "a.jsonl", rows_of())
    address = write_page(tmp_path, tmp_path / "index.html", board).path.as_uri()
    hovered = "[...document.querySelectorAll('{} tbody .remark')].map((one) => [one.textContent, one.title])"
    said = {"¹": "by <one> | word.", "²": "generic details"}
    with chromium.Browser(tmp_path / "profile") as page:
        page.open(address)
        for section in ("#tables", "#matrix"):
            assert page.run(hovered.format(section)) == [[mark, text] for mark, text in said.items()]
            notes = [note for note in page.texts(f"{section} .notes p") if HEAD in note]
            assert [note[0] for note in notes] == list(said), "the words have to be readable without a pointer"
        assert page.texts("#tables tbody th") == ["CLIP¹,²", "dive"]
        page.click("#filters .tabs button:nth-child(2)")
        for section in ("#tables", "#matrix"):
            assert page.run(hovered.format(section)) == [["²", "generic details"]], "a mark of another dataset"
        page.point("#tables tbody tr .number")
        page.until("!document.querySelector('#tip').hidden")
        assert "remark: generic details" in page.texts("#tip")[0]
        page.click("#tables tbody tr .number")
        assert "generic details" in page.texts("#panel dl")[0]
        assert not page.problems
