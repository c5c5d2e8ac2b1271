# pytest tests/leaderboard/test_transductive.py
"""A method that sees all test images before it scores one is marked everywhere, never the best, never compared."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from tests.made_up_rows import make_row
from zsad_bench.commands._figure_source import Source
from zsad_bench.console import Console
from zsad_bench.leaderboard.figures import dive_fig_1, style
from zsad_bench.leaderboard.page.content import content
from zsad_bench.leaderboard.tables import papers, pivot, prior_curve, render, status
from zsad_bench.leaderboard.tables.grid import BEST
from zsad_bench.leaderboard.tables.leaderboard_files import print_tables, readme
from zsad_bench.leaderboard.tables.leaderboard_tables import build
from zsad_bench.leaderboard.tables.marks import PARTIAL, TRANSDUCTIVE
from zsad_bench.leaderboard.tables.published import Entry, Facts, Published
from zsad_bench.variant import PLAIN

FACTS = Facts(titles={"clip": "CLIP", "dive": "DIVE"}, built=frozenset({"clip", "dive"}), counts={"cloth": (6, 4)})
SENTENCE = f"{TRANSDUCTIVE} Transductive, seeing all test images of a category before any is scored"


def rows_of(**changes):
    """CLIP sees all images and has the highest number."""
    others = [make_row(method=name, value=value, **changes) for name, value in (("dive", 0.6), ("faprompt", 0.5))]
    return [make_row(transductive=True, method="clip", value=0.9, **changes), *others]


def test_boards_and_pages_mark_it(board):
    report = build(rows_of(), board)
    (table,) = report.tables
    assert [line.cell("image_auroc").text for line in table.lines] == [f"90.0{TRANSDUCTIVE}", "60.0", "50.0"]
    assert [line.cell("image_auroc").rank for line in table.lines] == [0, BEST, 0]
    assert [record["transductive"] for record in table.records()] == [True, False, False]
    page = readme(report, [])
    assert f"| 90.0{TRANSDUCTIVE} |" in page.replace("  ", "")
    assert SENTENCE in page
    assert "at a time: CLIP." in page, "the note does not say which methods"
    (shown,) = content(report, [])["tables"]
    assert [cell[0] for cell in shown["cells"]["image_auroc"].values()] == [f"90.0{TRANSDUCTIVE}", "60.0", "50.0"]
    assert [text.startswith(SENTENCE) for text in shown["marked"]] == [True]
    console = Console(width=80, file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    print_tables(rows_of(), console, board)
    console.file.seek(0)
    assert "90.0#" in console.file.read(), "an ASCII terminal shows another sign"


def test_both_signs_stand_together(board):
    rows = [make_row(transductive=True, method="clip", value=0.9, n_images=9), make_row(method="dive", n_images=10)]
    (table,) = build(rows, board).tables
    assert table.lines[0].cell("image_auroc").text == f"90.0{PARTIAL}{TRANSDUCTIVE}"
    assert [text[0] for text in table.marked] == [PARTIAL, TRANSDUCTIVE]


def test_numbers_of_two_sets_are_never_averaged(board):
    old, new = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    rows = [make_row(transductive=True, value=v, seed=s, set_hash=h, started=t)
            for s, (v, h, t) in enumerate([(0.1, "one", old), (0.7, "two", new), (0.9, "two", new)])]  # fmt: skip
    other = make_row(transductive=True, value=0.5, category="nut", set_hash="three", started=old)
    report = build([*rows, other], board)
    assert {(row.category, row.set_hash) for row in report.rows} == {("carpet", "two"), ("nut", "three")}
    (line,) = report.left_out
    assert line.startswith("1 of the rows of clip")
    assert line.endswith("cloth · carpet: set_hash differs from the newest run's")


def test_pivots_and_latex_mark_it():
    for lines, columns in ((["dataset"], ["method"]), (["method"], ["dataset"])):
        grid, records = pivot.pivot(rows_of(), lines, columns, {}, FACTS)
        assert {cell.text: cell.rank for _, of in grid.lines for cell in of} == {
            f"90.0{TRANSDUCTIVE}": 0, "60.0": 1, "50.0": 2,
        }  # fmt: skip
        assert any(note.startswith(SENTENCE) and note.endswith("CLIP.") for note in grid.notes)
        assert {record["mean"]: record["transductive"] for record in records} == {0.9: True, 0.6: False, 0.5: False}
        assert r"90.0\S{}" in render.latex([grid], "x")


def test_it_is_not_the_printed_number():
    paper = {"backbone": "ViT-L-14-336-quickgelu", "image_size": 518}
    published = [Published("faprompt_1", "s", Entry(m, "", PLAIN), "cloth", "industrial", "rich", "image_auroc", 0.5)
                 for m in ("clip", "dive")]  # fmt: skip
    _, numbers = papers.numbers("faprompt_1", published, rows_of(**paper), FACTS)
    by_method = {number.entry.method: number for number in numbers if number.scope == "cloth" and number.rows}
    assert by_method["clip"].why_not == "scoring with the whole test set, the paper one image at a time"
    assert by_method["dive"].difference == pytest.approx(0.1)
    assert [one.state for one in status.states(published, rows_of(**paper), FACTS)] == [status.PART, status.DONE]


def test_prior_curves_mark_it():
    rows = [make_row(transductive=True, method="clip", prior=f"mvtec:types={x}", value=0.9) for x in (1, 5)]
    rows += [make_row(method=name, prior=f"mvtec:types={x}") for x in (1, 5) for name in ("dive", "faprompt")]
    (grid,), records = prior_curve.table(prior_curve.curves(rows, {"image": ("cloth",), "pixel": ()}), FACTS)
    ranks = {label: [cell.rank for cell in cells[:2]] for label, cells in grid.lines}
    assert ranks == {f"CLIP · mvtec{TRANSDUCTIVE}": [0, 0], "DIVE · mvtec": [1, 1], "faprompt · mvtec": [1, 1]}
    assert {record["method"] for record in records if record["transductive"]} == {"clip"}


def test_figures_say_it_below():
    rows = [*rows_of(), *(make_row(method="dive", prior=prior, value=0.7) for prior in ("rich", "limited"))]
    with style.look():
        means = dive_fig_1.means(rows, ("rich", "limited"), "image_auroc", FACTS)
        drawn = dive_fig_1.draw(means, None, FACTS, [])
    assert "Transductive, seeing all test images of a category at once: CLIP." in drawn.caption
    source = SimpleNamespace(rows=rows, facts=FACTS)  # of figures that show maps and costs
    named = Source.transductive(source, ["DIVE", "CLIP", "CLIP"])
    assert named == ["Transductive, seeing all test images of a category at once: CLIP."]
    assert Source.transductive(source, ["DIVE"]) == []
