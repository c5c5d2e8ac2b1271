# pytest tests/leaderboard/test_partial.py
"""What was measured or learned on part of the data is marked everywhere, never the best, and compared with nothing."""

from __future__ import annotations

import csv
import io

import pytest

from tests.made_up_rows import make_row
from zsad_bench.console import Console
from zsad_bench.leaderboard.figures.style import fullest, partial_sentence
from zsad_bench.leaderboard.page.content import content
from zsad_bench.leaderboard.tables import claims, papers, pivot, prior_curve, render, status
from zsad_bench.leaderboard.tables.averaging import NOTHING, pools
from zsad_bench.leaderboard.tables.leaderboard_files import print_tables, readme, write_leaderboard
from zsad_bench.leaderboard.tables.leaderboard_tables import build
from zsad_bench.leaderboard.tables.marks import PARTIAL, Partial, Partials, describe, notes
from zsad_bench.leaderboard.tables.published import Entry, Facts, Published
from zsad_bench.results.rows import append
from zsad_bench.tracking import run_summary as mirrored
from zsad_bench.variant import PLAIN

# how a row says that its data are not whole, and what stands under a table that shows it
KINDS = {
    "skipped": ({"n_images": 12, "n_skipped": 4}, "12 of 16 images (4 could not be read and were left out)"),
    "fewer than its neighbours": ({"n_images": 12}, "12 of 16 images"),
    "part of the target": ({"n_images": 16, "target_partial": "36 of 3000"}, "36 of 3000 images"),
    "part of the auxiliary data": (
        {"n_images": 16, "auxiliary": "mvtec", "auxiliary_partial": "363 of 1725"},
        "auxiliary data mvtec 363 of 1725 images",
    ),
    "part of one of several": (
        {"n_images": 16, "auxiliary": "mvtec+visa", "auxiliary_partial": "visa 3 of 900"},
        "auxiliary data visa 3 of 900 images",
    ),
}
FACTS = Facts(titles={"clip": "CLIP", "dive": "DIVE", "cloth": "Cloth"})


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def rows_of(changes, part=0.9, metric="image_auroc", **more):
    """The part of the data gives CLIP the highest number; DIVE and FAPrompt had all of it."""
    whole = [make_row(method=name, value=value, n_images=16, metric=metric, **more)
             for name, value in (("dive", 0.6), ("faprompt", 0.5))]  # fmt: skip
    return [make_row(method="clip", value=part, metric=metric, **{**more, **changes}), *whole]


def test_boards_mark_it_and_never_print_it_bold(kind, board, tmp_path):
    changes, said = kind
    report = build(rows_of(changes), board)
    clip, dive, faprompt = report.tables[0].lines
    assert (clip.cell("image_auroc").text, clip.cell("image_auroc").rank) == (f"90.0{PARTIAL}", 0)
    assert [line.cell("image_auroc").rank for line in (dive, faprompt)] == [1, 0]
    assert [line.cell("image_auroc").text for line in (dive, faprompt)] == ["60.0", "50.0"]
    page = readme(report, ["clip.jsonl"])
    assert f"90.0{PARTIAL} |" in page
    assert "**90.0" not in page
    assert f"{PARTIAL} On part of the data, so not ranked and compared with nothing. CLIP: " in page
    assert said in page
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    print_tables(rows_of(changes), console, board)
    printed = " ".join(console.file.getvalue().split())
    assert f"90.0{PARTIAL}" in printed
    assert said in printed
    page = content(report, ["clip.jsonl"])
    (table,) = page["tables"]
    assert [cell[0] for cell in table["cells"]["image_auroc"].values()] == [f"90.0{PARTIAL}", "60.0", "50.0"]
    assert [cell[0] for cell in table["parts"][0]["cells"]["image_auroc"].values()] == [
        f"90.0{PARTIAL}",
        "60.0",
        "50.0",
    ]
    assert said in " ".join(table["marked"])
    append(tmp_path / "rows" / "clip.jsonl", rows_of(changes))
    write_leaderboard(tmp_path / "rows", tmp_path, board)
    lines = list(csv.DictReader((tmp_path / "cloth.csv").read_text().splitlines()))
    assert [bool(line["partial"]) for line in lines] == [True, False, False]
    assert said in lines[0]["partial"]


def test_where_only_one_is_whole_nothing_is_the_best(kind, board):
    rows = [row for row in rows_of(kind[0]) if row.method != "faprompt"]
    assert not any(line.cell("image_auroc").rank for line in build(rows, board).tables[0].lines)


def test_an_overall_mean_is_marked_by_what_is_in_it(kind, board):
    changes, said = kind
    rows = rows_of(changes) + [make_row(method=name, target="parts", value=0.5) for name in ("clip", "dive")]
    overall, cloth, parts = build(rows, board).tables
    assert overall.lines[0].cell("image_auroc").text == f"70.0{PARTIAL}"
    assert said in " ".join(overall.marked)
    assert parts.marked == []
    assert parts.lines[0].cell("image_auroc").text == "50.0"
    assert cloth.lines[0].cell("image_auroc").text == f"90.0{PARTIAL}"


def test_what_all_lines_have_is_said_once(board):
    rows = [make_row(method=name, target_partial="36 of 3000") for name in ("clip", "dive", "faprompt")]
    (table,) = build(rows, board).tables
    assert table.marked[0].endswith("compared with nothing. Every line: Cloth 36 of 3000 images.")
    assert not any(line.cell("image_auroc").rank for line in table.lines), "nothing partial is ranked"


def test_pivots_mark_it(kind):
    changes, said = kind
    for lines, columns in ((["dataset"], ["method"]), (["method"], ["dataset"])):
        grid, records = pivot.pivot(rows_of(changes), lines, columns, {}, FACTS)
        cells = {cell.text: cell.rank for _, of in grid.lines for cell in of}
        assert cells == {f"90.0{PARTIAL}": 0, "60.0": 1, "50.0": 2}
        assert any(said in text for text in grid.notes)
        assert {record["mean"]: bool(record["partial"]) for record in records} == {0.9: True, 0.6: False, 0.5: False}
        latex = render.latex([grid], "x")
        assert r"90.0$^\dagger$" in latex
        assert PARTIAL not in latex, "LaTeX's default fonts lack the sign"
        console = Console(width=80, file=io.StringIO(), legacy_windows=False)
        render.terminal([grid], console)
        assert f"90.0{PARTIAL}" in console.file.getvalue()


def printed(method, value, metric="image_auroc", scope="cloth"):
    return Published("faprompt_1", "s", Entry(method, "", PLAIN), scope, "industrial", "rich", metric, value)


def test_paper_tables_show_no_difference(kind):
    changes, said = kind
    paper = {"backbone": "ViT-L-14-336-quickgelu", "image_size": 518, "n_anomalous": 4}
    rows = rows_of(changes, **paper)
    facts = Facts(titles=FACTS.titles, built=frozenset({"clip", "dive"}), counts={"cloth": (12, 4)})
    published = [printed("clip", 0.8), printed("dive", 0.5)]
    grids, found = papers.numbers("faprompt_1", published, rows, facts)
    of = {number.entry.method: number for number in found if number.scope == "cloth" and number.rows}
    assert of["clip"].difference is None, "a number on part of the data was compared with a printed one"
    assert of["clip"].why_not
    assert of["dive"].difference == pytest.approx(0.1), "what is whole is compared as ever"
    line = dict(grids[0].lines)["Cloth"]
    assert {cell.text: cell.rank for cell in line}[f"90.0{PARTIAL}"] == 0
    assert any(said in text for text in grids[-1].notes)
    states = status.states(published, rows, facts)
    assert [one.state for one in states] == [status.PART, status.DONE]
    assert not states[0].compared


def test_headline_gains_take_whole_numbers_only(kind):
    rows = rows_of(kind[0], n_anomalous=4)
    found = papers.Numbers(papers.TABLES["faprompt_1"], [printed(n, 0.5) for n in ("clip", "dive")], rows, FACTS)
    values = {
        entry.method: claims._value(found.at(entry, found.tracks(entry)[0], "image_auroc", "cloth"), measured=True)
        for entry in (Entry(name, "", PLAIN) for name in ("clip", "dive"))
    }
    assert values == {"clip": None, "dive": 0.6}


def test_prior_curves_mark_it(kind):
    changes, said = kind
    rows = []
    for method, more in (("clip", changes), ("dive", {"n_images": 16})):
        for x in (1, 5):
            more = {"auxiliary": "mvtec", **more}
            rows.append(make_row(method=method, prior=f"mvtec:types={x}", value=0.5 + x / 50, **more))
    found = prior_curve.curves(rows, {"image": ("cloth",), "pixel": ()})
    grids, records = prior_curve.table(found, FACTS)
    assert [label for label, _ in grids[0].lines] == [f"CLIP · mvtec{PARTIAL}", "DIVE · mvtec"]
    assert any(said in text for text in grids[0].notes)
    assert {record["method"]: bool(record["partial"]) for record in records} == {"clip": True, "dive": False}


def test_figures_leave_it_out_beside_whole_numbers_and_say_it_alone(kind):
    changes, said = kind
    means = {k: p.mean() for k, p in pools(rows_of(changes), lambda row: row.method).items()}
    assert set(fullest(means)) == {"dive", "faprompt"}
    alone = {"clip": means["clip"]}
    assert fullest(alone) == alone
    assert said in partial_sentence(alone.values(), FACTS)
    assert partial_sentence([means["dive"]], FACTS) == ""


def test_the_mirror_shows_it(kind):
    changes, _ = kind
    records = [row.record() for row in rows_of(changes)[:1]]
    columns, (line,) = mirrored.table(records)
    of = dict(zip(columns, line, strict=True))
    assert {name: of[name] for name in changes if name in of} == {k: v for k, v in changes.items() if k in of}
    marked = mirrored.summary(records, ("cloth",))
    if changes != {"n_images": 12}:  # a run alone has no neighbours
        assert "cloth/partial" in marked
    assert "cloth/partial" not in mirrored.summary([make_row().record()], ("cloth",))


def test_nothing_is_said_of_whole_data(board):
    rows = [make_row(method=name, n_images=16) for name in ("clip", "dive")]
    assert not Partials(rows)
    assert Partials(rows).of(rows[0]) == ()
    assert PARTIAL not in readme(build(rows, board), [])
    assert notes({}, 3) == []
    assert describe([]) == ""


def test_long_lists_are_counted():
    parts = [Partial("mvtec", f"c{i}", "1 of 2 images") for i in range(9)]
    assert describe(parts).endswith("mvtec/c3 1 of 2 images and 5 more")
    marked = [NOTHING._replace(parts=tuple(parts[:1]))]
    (sentence,) = notes(dict.fromkeys("abcdefg", marked), 8)
    assert "a, b, c, d and 3 more: " in sentence
