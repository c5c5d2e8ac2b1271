# pytest tests/commands/test_table_selection.py
"""Which rows the tables take: of each line one version and configuration, and never two values for one place."""

from __future__ import annotations

import csv

import pytest

from tests.made_up_rows import make_row
from zsad_bench.commands._row_selection import RowsOptions, all_facts, chosen_rows
from zsad_bench.console import Console
from zsad_bench.errors import RowError
from zsad_bench.leaderboard.tables import papers
from zsad_bench.leaderboard.tables.averaging import Pool
from zsad_bench.leaderboard.tables.mixed_rows import comparable
from zsad_bench.leaderboard.tables.pivot import pivot
from zsad_bench.leaderboard.tables.published import Facts, read_published
from zsad_bench.leaderboard.tables.status import DONE, states
from zsad_bench.results.image_scores import write_scores
from zsad_bench.results.row import Row
from zsad_bench.results.rows import append

VISA = all_facts().categories["visa"]
SETTING = {"suite": "paper", "target": "visa", "backbone": "ViT-L-14-336-quickgelu", "image_size": 518}
OLD = {"method_version": "1", "config_hash": "c1", "key": "k1", "run_id": "r1", "started": "2026-01-01T00:00:00Z"}
NEW = {"method_version": "2", "config_hash": "c2", "key": "k2", "run_id": "r2", "started": "2026-01-02T00:00:00Z"}
LEFT_OUT = (
    "Left out: 12 of the rows of clip ·  · none · ViT-L-14-336-quickgelu · 518 · float32 · visa: method_version and"
)


def rows_of(categories=VISA, value=0.5, **changes: object) -> list[Row]:
    return [make_row(category=category, value=value, **{**SETTING, **changes}) for category in categories]


@pytest.fixture
def board(tmp_path):
    return tmp_path / "leaderboards"


def two_versions(board) -> list[Row]:
    """Of all categories of the older version, and three of the newer one, as a sweep at work leaves them."""
    rows = rows_of(**OLD) + rows_of(VISA[:3], 0.9, **NEW)
    append(board / "paper" / "rows" / "clip.jsonl", rows)
    return rows


@pytest.mark.parametrize("options", [{}, {"mixed": True}])
def test_of_two_versions_the_newest_stands_as_in_a_leaderboard(board, options, capsys):
    rows = two_versions(board)
    remarks: list[str] = []
    found = chosen_rows(RowsOptions(board=str(board), **options), Console(), "paper", remarks=remarks)
    kept, sentences = comparable(rows)
    assert found == kept == rows[12:]
    assert remarks == [f"Left out: {sentence}." for sentence in sentences]
    assert remarks[0].startswith(LEFT_OUT)
    assert remarks[0].replace("  ", " ") in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (("pivot",), "90.0 (3/12 categories)"),
        (("paper", "faprompt_1"), "90.0 (3/12 categories)"),
        (("compare",), "90.0 (3/12 categories)"),
        (("claims",), ""),
        (("status",), " 1 part, "),
    ],
)
def test_every_table_names_what_it_left_out(zsad, board, command, shown):
    two_versions(board)
    said = zsad("table", *command)
    assert said.code == 0, said.err
    assert LEFT_OUT in said.out
    assert shown in said.out


def test_paired_takes_the_newest_scores(zsad, board):
    for method, key, scores, changes in (
        ("clip", "a", (0.1, 0.9), OLD), ("clip", "b", (0.9, 0.1), NEW), ("winclip", "c", (0.1, 0.9), {}),
    ):  # fmt: skip
        row = make_row(**{**SETTING, "method": method, "category": "candle", **changes, "key": key})
        append(board / "paper" / "rows" / f"{method}.jsonl", [row])
        labels = [0, 1] * 10
        write_scores(board / "paper" / "scores", key, "candle", [f"{i:02d}" for i in range(20)], labels,
                     [scores[label] for label in labels], [""] * 20)  # fmt: skip
    said = zsad("table", "paired", "--method", "winclip,clip")
    assert said.code == 0, said.err
    assert "+100.00 points" in said.out, "the scores of the older version were averaged with the newer one's"
    assert "differ from the newest run's" in said.out


def test_a_pool_refuses_two_values_for_one_place():
    pool = Pool()
    pool.add(make_row(value=0.5, key="a"))
    pool.add(make_row(value=0.5, key="b"))
    with pytest.raises(RowError, match=r"clip as it is, prior none, image_auroc, seed 0.* two values .* 0.5 and 0.6"):
        pool.add(make_row(value=0.6, key="c"))


# Two image sizes.


def test_a_pivot_does_not_average_over_image_sizes():
    rows = [make_row(value=0.5), make_row(value=0.9, image_size=32, key="small")]
    with pytest.raises(RowError, match=r"average over image_sizes .32, 96.; put image_size on --rows or --cols"):
        pivot(rows, ["dataset"], ["method"], {}, Facts())
    grid, _ = pivot(rows, ["image_size"], ["method"], {}, Facts())
    assert [(label, cells[0].text) for label, cells in grid.lines] == [("32", "90.0"), ("96", "50.0")]
    with pytest.raises(RowError, match=r"average over precisions .bf16, float32.; put precision on"):
        pivot([make_row(), make_row(precision="bf16")], ["dataset"], ["method"], {}, Facts())


def test_a_mean_over_datasets_is_of_one_image_size():
    rows = [make_row(target="cloth"), make_row(target="parts", image_size=32)]
    with pytest.raises(RowError, match="average over image_sizes"):
        pivot(rows, ["dataset"], ["method"], {}, Facts(), (("Mean (2)", "", ("cloth", "parts")),))
    grid, _ = pivot(rows, ["dataset"], ["method"], {}, Facts())
    assert [cells[0].text for _, cells in grid.lines] == ["50.0", "50.0"], "each dataset by itself is of one"


def test_a_papers_table_has_a_column_for_each_image_size():
    facts = all_facts()
    rows = rows_of(value=0.6) + rows_of(value=0.9, image_size=240, key="small")
    grids, numbers = papers.numbers("faprompt_1", read_published(), rows, facts)
    line = dict(grids[0].lines)["VisA"]
    shown = {column.title: cell.text for column, cell in zip(grids[0].columns, line, strict=True)}
    assert (shown["CLIP (518 px)"], shown["CLIP (240 px)"]) == ("60.0", "90.0")
    measured = {n.track.image_size: n.why_not for n in numbers if n.rows and n.scope == "visa"}
    assert measured[240] == "image size 240, the paper 518"
    printed = [p for p in read_published() if (p.table, p.entry.method, p.scope) == ("faprompt_1", "clip", "visa")]
    (found, *_) = (s for s in states(printed, rows, facts) if s.published.metric == "image_auroc")
    assert found.state == DONE
    assert "image size" not in found.why_not, "the line on the printed image size is the one that counts"


def test_paired_does_not_take_two_image_sizes_for_two_runs(refused, board):
    rows = rows_of(VISA[:1]) + rows_of(VISA[:1], image_size=240, key="small") + rows_of(VISA[:1], method="winclip")
    append(board / "paper" / "rows" / "clip.jsonl", rows)
    said = refused(1, "table", "paired", "--method", "clip,winclip")
    assert said.endswith("rows of more than one image size, 518 and 240; choose a folder of rows with --from")


# Rows whose key is another one by design.


def curve_rows(key: str = "", **changes: object) -> list[Row]:
    """Rows of one run of each prior, and those of its operating points, which have a key of their own."""
    fields = {"suite": "demo", "method": "dive", "target": "demo_textures"}
    rows = [
        make_row(**{**fields, "prior": f"rich:types={n}", "draw": draw, "key": f"{key}{n}-{draw}", **changes})
        for n in (1, 4) for draw in (0, 1)
    ]  # fmt: skip
    points = {"metric": "image_tpr_at_fpr", "calibrated_on": "b, 3 normal images"}
    return rows + [make_row(**{**row.record(), "variant": row.variant, "networks": row.networks,
                               "key": f"{row.key}-optional", **points}) for row in rows]  # fmt: skip


def test_operating_points_keep_no_curve_from_being_drawn(zsad, board):
    append(board / "demo" / "rows" / "dive.jsonl", curve_rows())
    said = zsad("table", "prior_curve")
    assert said.code == 0, said.err
    assert "image_auroc against the number of anomaly types" in said.out


def test_operating_points_keep_no_change_from_being_shown(zsad, board):
    rows = curve_rows() + curve_rows("jpeg", data_options="corruption=jpeg:3", data_hash="d3", value=0.4)
    append(board / "demo" / "rows" / "dive.jsonl", rows)
    said = zsad("table", "robustness", "--metric", "image_auroc,image_tpr_at_fpr")
    assert said.code == 0, said.err
    assert "−20.0" in said.out


def test_operating_points_keep_no_claim_from_being_answered(refused, board):
    append(board / "demo" / "rows" / "dive.jsonl", curve_rows())
    assert "no two methods to compare with image_auroc" in refused(1, "table", "dive_claims")


def test_curves_on_two_backbones_are_two(zsad, board, tmp_path):
    rows = curve_rows() + [
        make_row(suite="demo", method="dive", target="demo_textures", prior=f"rich:types={n}", draw=draw, value=0.8,
                 backbone="own", weights_hash="w2", image_size=32, key=f"own-{n}-{draw}")
        for n in (1, 4) for draw in (0, 1)
    ]  # fmt: skip
    append(board / "demo" / "rows" / "dive.jsonl", rows)
    said = zsad("table", "prior_curve", "--mixed", "--metric", "image_auroc")
    assert said.code == 0, said.err
    assert "DIVE (tiny, 96 px) · rich" in said.out
    assert "DIVE (own, 32 px) · rich" in said.out
    with (tmp_path / "tables" / "prior_curve.csv").open(newline="") as file:
        means = {(line["backbone"], line["image_size"]): float(line["mean"]) for line in csv.DictReader(file)}
    assert means == {("tiny", "96"): 0.5, ("own", "32"): pytest.approx(0.8)}
