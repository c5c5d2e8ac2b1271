# pytest tests/leaderboard/test_external.py
"""Numbers of maps that others saved are marked everywhere, never the best, and never averaged with measured ones."""

from __future__ import annotations

import io

import pytest

from tests.made_up_rows import make_row
from zsad_bench.console import Console
from zsad_bench.errors import RowError
from zsad_bench.leaderboard.page.content import content
from zsad_bench.leaderboard.tables import pivot, prior_curve, render
from zsad_bench.leaderboard.tables.grid import BEST
from zsad_bench.leaderboard.tables.leaderboard_files import print_tables, readme
from zsad_bench.leaderboard.tables.leaderboard_tables import build
from zsad_bench.leaderboard.tables.marks import EXTERNAL, PARTIAL, TRANSDUCTIVE
from zsad_bench.leaderboard.tables.mixed_rows import comparable
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.results.external_maps import External, read_external, write_external
from zsad_bench.results.merge import merge
from zsad_bench.results.rows import append, file_of, load

FACTS = Facts(titles={"clip": "CLIP", "dive": "DIVE"}, built=frozenset({"clip", "dive"}))
SENTENCE = f"{EXTERNAL} Computed here from saved maps or scores, whose method was not run here"


def external(**changes):
    usual = {"method": "external:clip", "prior": "unknown", "backbone": "none", "weights_hash": "none", "value": 0.9}
    usual |= {"maps_hash": "m1", **changes}
    return make_row(**{"key": f"{usual['maps_hash']}-{usual.get('seed', 0)}", **usual})


def rows_of():
    """Called as a method that there is, and better than it."""
    return [external(), *(make_row(method=name, value=value) for name, value in (("clip", 0.6), ("dive", 0.5)))]


def test_boards_and_pages_mark_it(board):
    report = build(rows_of(), board)
    (table,) = report.tables
    assert [line.title for line in table.lines] == ["CLIP", "clip (external)", "dive"]
    assert [line.cell("image_auroc").text for line in table.lines] == ["60.0", f"90.0{EXTERNAL}", "50.0"]
    assert [line.cell("image_auroc").rank for line in table.lines] == [BEST, 0, 0]
    assert {record["method"]: record["external"] for record in table.records()} == {
        "clip": False, "dive": False, "external:clip": True,
    }  # fmt: skip
    page = readme(report, [])
    assert f"| 90.0{EXTERNAL} |" in page.replace("  ", "")
    assert SENTENCE in page
    assert "methods that were: clip (external) · unknown." in page
    (shown,) = content(report, [])["tables"]
    assert f"90.0{EXTERNAL}" in [cell[0] for cell in shown["cells"]["image_auroc"].values()]
    console = Console(width=80, file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    print_tables(rows_of(), console, board)
    console.file.seek(0)
    assert "90.0@" in console.file.read(), "an ASCII terminal shows another sign"


def test_all_signs_stand_together(board):
    rows = [external(transductive=True, n_images=8, n_skipped=2), make_row(method="dive", n_images=10)]
    (table,) = build(rows, board).tables
    assert table.lines[0].cell("image_auroc").text == f"90.0{PARTIAL}{TRANSDUCTIVE}{EXTERNAL}"
    assert [text[0] for text in table.marked] == [PARTIAL, TRANSDUCTIVE, EXTERNAL]
    assert "8 of 10 images (2 had no map or score and were left out)" in table.marked[0]


def test_pivots_and_latex_mark_it():
    for lines, columns in ((["dataset"], ["method"]), (["method"], ["dataset"])):
        grid, records = pivot.pivot(rows_of(), lines, columns, {}, FACTS)
        found = {cell.text: cell.rank for _, of in grid.lines for cell in of}
        assert (found[f"90.0{EXTERNAL}"], found["60.0"]) == (0, 1)
        assert any(note.startswith(SENTENCE) for note in grid.notes)
        assert {record["mean"]: record["external"] for record in records} == {0.9: True, 0.6: False, 0.5: False}
        assert r"90.0$^\ddagger$" in render.latex([grid], "x")


def test_prior_curves_mark_it():
    rows = [external(prior=f"mvtec:types={x}", key=f"e{x}") for x in (1, 5)]
    rows += [make_row(method="dive", prior=f"mvtec:types={x}") for x in (1, 5)]
    (grid,), records = prior_curve.table(prior_curve.curves(rows, {"image": ("cloth",), "pixel": ()}), FACTS)
    assert [label for label, _ in grid.lines] == ["DIVE · mvtec", f"clip (external) · mvtec{EXTERNAL}"]
    assert {record["method"] for record in records if record["external"]} == {"external:clip"}


def test_of_two_sets_of_maps_the_newer_stands_and_seeds_are_runs(board):
    old, new = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    rows = [external(maps_hash="m1", started=old, value=0.1), external(maps_hash="m2", started=new, value=0.7)]
    kept, left_out = comparable(rows)
    assert [row.maps_hash for row in kept] == ["m2"]
    assert "1 of the rows of external:clip" in left_out[0]
    assert left_out[0].endswith("maps_hash differs from the newest run's")
    both = [*rows, external(maps_hash="m3", seed=1, started=new, value=0.9)]
    (table,) = build(both, board).tables
    assert table.lines[0].cell("image_auroc").text == f"80.0 ± 14.1{EXTERNAL}"
    assert comparable([make_row(), make_row(method="dive")])[1] == []


def test_a_method_without_a_file_of_its_own_has_a_file_that_any_system_can_hold(tmp_path):
    names = ["external:My method/../x", "external:my method/../x", "external:A|b", "clip", "MyPlugin"]
    paths = [file_of(tmp_path, name) for name in names]
    assert len({str(path).lower() for path in paths}) == len(names)
    assert all(path.parent == tmp_path / "rows" for path in paths)
    assert [path.name for path in paths[3:]] == ["clip.jsonl", "MyPlugin.jsonl"]


def test_what_is_known_of_maps_comes_back_and_is_merged(tmp_path):
    told = External(
        "mine", "someone", "none", "cloth", "d1", 96, files={"a.png": ("a.npy", "ff")}, kinds={"npy float32": 1},
        sizes={"96 x 96": 1}, low=-1.5, high=1e300, scores=("s.csv", "ee"), missing=("b.png (map)",),
    )  # fmt: skip
    for board, name in (("a", "m1"), ("b", "m2")):
        append(file_of(tmp_path / board, "external:mine"), [external(key=name, maps_hash=name)])
        write_external(tmp_path / board, name, "maps", told)
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert [read_external(tmp_path / "out", name) for name in ("m1", "m2")] == [told, told]
    assert {row.maps_hash for row in load(tmp_path / "out" / "rows")} == {"m1", "m2"}
    assert read_external(tmp_path / "out", "m3") is None
    (tmp_path / "out/external/m1.json").write_text("{}")
    with pytest.raises(RowError, match="cannot read what is known of saved maps"):
        read_external(tmp_path / "out", "m1")
