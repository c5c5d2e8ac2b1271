# pytest tests/leaderboard/test_tables.py
"""Means, counts and pages against numbers worked out by hand."""

from __future__ import annotations

import csv
import dataclasses
import io
import random

import pytest
from msgspec.structs import replace

from tests.made_up_rows import make_row
from zsad_bench.errors import RowError
from zsad_bench.leaderboard.page.content import content
from zsad_bench.leaderboard.tables.grid import BEST
from zsad_bench.leaderboard.tables.leaderboard_files import print_tables, write_leaderboard
from zsad_bench.leaderboard.tables.leaderboard_tables import build, means
from zsad_bench.leaderboard.tables.mixed_rows import comparable
from zsad_bench.results.rows import RowWarning, append

# cloth: 2 categories, parts: 1, so the mean over datasets is not the mean over categories
SEEDS = {0: {"carpet": 0.2, "grid": 0.4, "bolt": 0.9}, 1: {"carpet": 0.4, "grid": 0.6, "bolt": 0.7}}
TARGET = {"carpet": "cloth", "grid": "cloth", "bolt": "parts", "cell": "photos"}


def make_rows(seeds=SEEDS, **changes):
    return [
        make_row(target=TARGET[category], category=category, seed=seed, value=value, **changes)
        for seed, values in seeds.items()
        for category, value in values.items()
    ]


def shown(table, line=0, metric="image_auroc"):
    return table.lines[line].cell(metric).text


def test_mean_goes_category_dataset_seed():
    (mean,) = means(make_rows()).values()
    # seed 0: ((.2 + .4)/2 + .9)/2 = .6; seed 1: ((.4 + .6)/2 + .7)/2 = .6
    assert mean.mean == pytest.approx(0.6), "a table's value is the mean over datasets, not over categories"
    assert mean.sd == pytest.approx(0.0)
    assert (mean.n_runs, mean.n_runs_found, mean.datasets) == (2, 2, ("cloth", "parts"))
    assert (mean.n_categories, mean.n_expected) == (3, 3)
    (mean,) = means([row for row in make_rows() if row.target == "cloth"]).values()
    # seeds .3 and .5: sample standard deviation .1 * sqrt 2
    assert (mean.mean, mean.sd) == (pytest.approx(0.4), pytest.approx(0.1 * 2**0.5))


def test_tables_and_their_text(board):
    report = build(make_rows() + make_rows({0: {"cell": 0.123456}}), board)
    assert [table.title for table in report.tables] == ["Overall", "Cloth", "Parts", "Photos"]
    overall, cloth, parts, photos = report.tables
    assert shown(cloth) == "40.0 ± 14.1"
    assert shown(parts) == "80.0 ± 14.1"
    assert shown(photos) == "12.3"
    assert overall.caption == "Mean over 2 datasets: Cloth, Parts. 3 categories, 30 images, 12 anomalous"
    assert photos.note == board.apart_note
    assert overall.note == cloth.note == board.note


def test_a_target_that_stands_apart_enters_no_mean(board):
    alone = build(make_rows(), board).tables[0].records()
    beside = build(make_rows() + make_rows({0: {"cell": 0.0}, 1: {"cell": 0.0}}), board).tables[0]
    assert beside.name == "overall"
    assert beside.records() == alone, "real photographs changed the generated mean"


def test_undefined_is_a_dash_and_counted(board):
    rows = make_rows()
    rows += [make_row(target="cloth", category="silk", seed=s, value=None, reason="no anomalous image") for s in (0, 1)]
    rows += [make_row(target="cloth", category="silk", method="random", value=0.5)]
    rows += [make_row(target="parts", category="bolt", metric="image_ap", value=None, reason="broken")]
    report = build(rows, board)
    overall, cloth, parts = report.tables
    assert shown(cloth) == "40.0 ± 14.1 (2/3)", "an undefined value was averaged, or the count hides it"
    assert shown(overall) == "60.0 (3/4)", "seeds that agree exactly show no ±"
    assert shown(parts, metric="image_ap") == "–", "undefined must be a dash"
    assert shown(cloth, line=1) == "50.0 (1/3)"
    assert report.undefined == [
        "Cloth/silk, image_auroc: no anomalous image (CLIP)",
        "Parts/bolt, image_ap: broken",
    ]


def test_a_seed_whose_run_died_is_not_averaged(board):
    rows = [row for row in make_rows() if (row.seed, row.category) != (1, "grid")]
    cloth = build(rows, board).tables[1]
    assert shown(cloth) == "30.0 (1/2 runs)", "seeds over different categories must not be averaged"


def test_best_is_bold_and_sanity_last(board):
    rows = make_rows({0: {"carpet": 0.5}}) + make_rows({0: {"carpet": 0.7}}, method="zeta")
    rows += make_rows({0: {"carpet": 0.9}}, method="random", backbone="none", weights_hash="none")
    (table,) = build(rows, board).tables
    assert [line.title for line in table.lines] == ["CLIP", "zeta", "Random"], "sanity methods go to the bottom"
    assert [line.cell("image_auroc").rank for line in table.lines] == [0, 0, BEST]
    assert table.extras == [], "a method without a backbone is no second backbone"
    (single,) = build(rows[:1], board).tables
    assert not single.lines[0].cell("image_auroc").rank, "a lone line is not the best of anything"
    partial = rows + make_rows({0: {"grid": 0.1}}) + make_rows({0: {"grid": 0.1}}, method="zeta")
    (table,) = build(partial, board).tables
    assert [line.cell("image_auroc").rank for line in table.lines] == [0, BEST, 0], "a partial mean was bold"


def test_lines_that_differ_in_backbone_are_told_apart(board):
    rows = make_rows({0: {"carpet": 0.5}}) + make_rows({0: {"carpet": 0.7}}, backbone="big", weights_hash="w2", key="b")
    (table,) = build(rows, board).tables
    assert table.extras == ["backbone"]
    assert [line.extra for line in table.lines] == [("big",), ("tiny",)]


@pytest.mark.parametrize("name", ["data_hash", "weights_hash", "metric_version", "config_hash", "prior_hash"])
def test_older_settings_are_left_out_and_said(board, name):
    old = [replace(row, key=f"old{row.seed}") for row in make_rows({0: {"carpet": 0.1}, 1: {"carpet": 0.1}})]
    new = make_rows({1: {"carpet": 0.8}}, started="2026-02-01T00:00:00Z", **{name: "newer"})
    kept, sentences = comparable(new + old)
    assert kept == new, f"rows of two values of {name} were mixed"
    assert [sentence.startswith("2 of the rows of ") and name in sentence for sentence in sentences] == [True]
    assert build(new + old, board).left_out == sentences


def test_conflicts_are_shown_and_not_used(board, tmp_path):
    rows = [*make_rows(), make_row(value=0.77, category="carpet")]
    append(tmp_path / "rows" / "a.jsonl", rows)
    write_leaderboard(tmp_path / "rows", tmp_path, board)
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "## Conflicts" in page
    assert "0.2 and 0.77 in run run1" in page
    assert "50.0 (1/2 runs)" in page, "the contradicted seed must not be averaged"
    assert "0.2 and 0.77" in printed(rows, board)
    lone = build([row for row in rows if row.seed == 0], board).tables[1]
    assert shown(lone) == "40.0 (1/2)", "a contradicted number must be counted as missing"


def test_a_folder_that_cannot_be_written_is_named(board, tmp_path):
    append(tmp_path / "rows" / "a.jsonl", make_rows())
    (tmp_path / "file").write_text("")
    with pytest.raises(RowError, match="cannot write the leaderboard"):
        write_leaderboard(tmp_path / "rows", tmp_path / "file" / "out", board)
    with pytest.raises(RowError, match="no such folder of rows"):
        write_leaderboard(tmp_path / "gone", tmp_path, board)


def test_page_is_byte_stable_and_complete(board, tmp_path):
    rows = make_rows(metric="pixel_aupro", variant="a|b") + make_rows() + make_rows({0: {"cell": 0.5}})
    pages = []
    for order in (rows, random.Random(0).sample(rows, len(rows))):
        folder = tmp_path / str(len(pages))
        append(folder / "rows" / "a.jsonl", order[:3])
        append(folder / "rows" / "b.jsonl", order[3:])
        for _ in range(2):
            written = write_leaderboard(folder / "rows", folder, board)
            pages.append({path.name: path.read_bytes() for path in written})
    assert all(page == pages[0] for page in pages), "the same rows gave other bytes"
    assert sorted(pages[0]) == ["README.md", "cloth.csv", "overall.csv", "parts.csv", "photos.csv"]
    page = pages[0]["README.md"].decode()
    for text in ("Generated by `zsad-bench table made_up`", "a\\|b", "`abc1234`", "tiny w1", "13 read, all standing"):
        assert text in page, f"the page lacks {text!r}"
    assert (page.count(board.note), page.count(board.apart_note)) == (3, 1), "a table lacks its line"
    lines = list(csv.DictReader(io.StringIO(pages[0]["cloth.csv"].decode())))
    assert {"mean", "sd", "n_runs", "n_categories", "n_categories_expected"} <= lines[0].keys()
    exact = means([row for row in rows if row.target == "cloth"]).values()
    assert [(float(line["mean"]), float(line["sd"])) for line in lines] == [(one.mean, one.sd) for one in exact]


def test_a_method_without_numbers_is_named_with_the_reason(board, tmp_path):
    rows = make_rows()
    method = rows[0].method
    append(tmp_path / "rows" / "a.jsonl", rows)
    layout = dataclasses.replace(board, absent={"elsewhere": "its weights are not free", method: "a reason of old"})
    write_leaderboard(tmp_path / "rows", tmp_path, layout)
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "elsewhere has no line: its weights are not free." in page
    assert "a reason of old" not in page, "it has numbers"
    assert content(build(rows, layout), ["a.jsonl"])["how"][-1] in page, "the page has the same words"


def test_tables_that_are_gone_take_their_files_along(board, tmp_path):
    append(tmp_path / "rows" / "a.jsonl", make_rows() + make_rows({0: {"cell": 0.5}}))
    write_leaderboard(tmp_path / "rows", tmp_path, board)
    page = tmp_path / "README.md"
    (tmp_path / "notes.csv").write_text("mine\n")
    (tmp_path / "parts.csv").write_text("mine now\n")
    page.write_text(page.read_text() + "[CSV](notes.csv) [CSV](../rows/a.jsonl)\n")
    (tmp_path / "rows" / "a.jsonl").unlink()
    append(tmp_path / "rows" / "a.jsonl", make_rows({0: {"carpet": 0.5}}))
    write_leaderboard(tmp_path / "rows", tmp_path, board)
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == ["cloth.csv", "notes.csv", "parts.csv"], (
        "tables of targets without rows must go, and files that were not generated must stay"
    )
    page.write_text("# A page by hand\n[CSV](overall.csv)\n")
    (tmp_path / "overall.csv").write_text((tmp_path / "cloth.csv").read_text())
    write_leaderboard(tmp_path / "rows", tmp_path, board)
    assert (tmp_path / "overall.csv").is_file(), "a page that was not generated decides nothing"


def test_torn_lines_are_told_beside_the_tables(board, tmp_path):
    path = tmp_path / "rows" / "a.jsonl"
    first, *others = [row.to_json() for row in make_rows()]
    path.parent.mkdir()
    path.write_text("\n".join([first, first[:99], *others]) + "\n")
    with pytest.warns(RowWarning, match="a.jsonl:2: damaged or half-written"):
        write_leaderboard(tmp_path / "rows", tmp_path, board)
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "- a.jsonl:2: damaged or half-written, not JSON and was ignored" in page, "the page hides that a row is lost"
    assert "6 read, all standing" in page, "the rows around the half-written line were lost"


def test_no_rows_is_said(board, tmp_path):
    (tmp_path / "rows").mkdir()
    (page,) = write_leaderboard(tmp_path / "rows", tmp_path, board)
    assert "No rows yet." in page.read_text()
    assert "no rows to show" in printed([], board)


def printed(rows, board, encoding="utf-8", width=80):
    from zsad_bench.console import Console

    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    print_tables(rows, Console(file=file, width=width), board)
    file.flush()
    return raw.getvalue().decode(encoding)


def test_terminal_table_fits_and_is_plain(board):
    metrics = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "pixel_aupro")
    rows = [row for m in metrics for row in make_rows(metric=m, method="anomalyclip", prior="limited")]
    rows += make_rows({0: {"cell": 0.5}}, method="anomalyclip", prior="limited")
    text = printed(rows, board)
    tables = [line for line in text.splitlines() if "not comparable" not in line]
    assert max(map(len, tables)) <= 80, "the table is too wide"
    assert "\x1b" not in text, "the table is coloured in a file"
    assert text.count("40.0±14.1") == 5, "a number was cut or lost at 80 columns"
    assert "Overall" in text
    assert "3 cat." in text
    assert "anomalyclip · limited" in text
    assert text.index("Photos") > text.index(board.note), "what stands apart comes in a table of its own"
    assert "40.0+-14.1" in printed(rows, board, "ascii"), "an ASCII terminal must work"
