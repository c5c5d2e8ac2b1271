# pytest tests/leaderboard/test_costs.py
"""Cost beside quality: of the fastest pass, on one machine, and only what was measured or counted."""

from __future__ import annotations

import csv
import io

from tests.made_up_rows import make_row
from zsad_bench.leaderboard.tables import render
from zsad_bench.leaderboard.tables.costs import costs
from zsad_bench.leaderboard.tables.leaderboard_files import readme
from zsad_bench.leaderboard.tables.leaderboard_tables import build
from zsad_bench.results.row import Row

SMALL, BIG = "cpu (A, 2 threads)", "GPU B"


def took(encode: float, score: float, memory: float = 900.0, **fields: object) -> Row:
    """A row of 10 images that took so many milliseconds each."""
    return make_row(
        seconds_encode=encode / 100, seconds_score=score / 100, peak_memory_mb=memory,
        **{"device": SMALL, "pass_id": "p1", **fields},
    )  # fmt: skip


def only(rows):
    found = costs(rows)
    (cost,) = found.by_line.values()
    return found, cost


def test_seconds_are_the_mean_over_categories_of_the_fastest_pass():
    rows = [
        took(5.0, 1.0, category="a"), took(4.0, 1.5, 800.0, category="a", seed=1, pass_id="p2"),
        took(3.0, 9.0, category="a", seed=2, pass_id="p3"), took(8.0, 2.0, category="b"),
    ]  # fmt: skip
    rows += [took(5.0, 1.0, category="a", metric="image_ap")]  # the same pass again
    found, cost = only(rows)
    assert cost.texts() | {"trained": "", "gflops": ""} == {
        "encode": "6.00", "score": "1.75", "memory": "800", "trained": "", "gflops": "",
    }  # fmt: skip
    assert found.note == f"Seconds and memory: {SMALL}; one process."
    assert found.columns == ["encode", "score", "memory"], "columns without anything in them are shown"


def test_machines_are_never_mixed_and_each_is_named():
    rows = [
        took(5.0, 1.0, category="a"), took(7.0, 1.0, category="b"),
        took(0.1, 0.1, category="a", device=BIG, seed=1, run_id="r2"),
        took(0.5, 0.2, category="a", method="dive", device=BIG),
        took(0.7, 0.2, category="b", method="dive", device=BIG),
        took(6.0, 1.0, category="a", method="coop"), took(8.0, 1.0, category="b", method="coop"),
    ]  # fmt: skip
    found = costs(rows)
    assert {line[0]: cost.short()["encode + score, ms"] for line, cost in found.by_line.items()} == {
        "clip": "6.00 + 1.00ᵃ", "dive": "0.60 + 0.20ᵇ", "coop": "7.00 + 1.00ᵃ",
    }  # fmt: skip
    assert found.note == f"Seconds and memory: ᵃ {SMALL}; ᵇ {BIG}; one process."
    assert {cost.texts()[key][-1] for cost in found.by_line.values() for key in ("encode", "score", "memory")} == {
        *"ᵃᵇ"
    }


def test_of_machines_that_saw_as_much_the_usual_one_counts():
    rows = [took(5.0, 1.0), took(0.1, 0.1, device=BIG, seed=1, run_id="r2"), took(6.0, 1.0, method="coop")]
    found = costs(rows)
    assert {cost.machine for cost in found.by_line.values()} == {SMALL}


def test_what_is_missing_is_counted_or_a_dash():
    rows = [took(5.0, 1.0, category="a"), make_row(category="b"), make_row(category="b", method="dive", prior="rich")]
    texts = {line[0]: cost.texts() for line, cost in costs(rows).by_line.items()}
    assert (texts["clip"]["encode"], texts["clip"]["score"]) == ("5.00 (1/2)", "1.00 (1/2)")
    assert set(texts["dive"].values()) == {"–"}, "rows of schema 1 know only seconds of whole passes"


def test_a_method_that_reads_no_picture_takes_nothing_of_the_pass_it_was_tested_in():
    _, cost = only([took(5.0, 0.001, method="random", backbone="none")])
    assert (cost.texts()["encode"], cost.texts()["score"]) == ("–", "<0.01")
    assert cost.short()["encode + score, ms"] == "<0.01"


def test_computations_are_those_of_the_rows():
    _, cost = only([took(5.0, 1.0, trained_parameters=7, gflops=1234.5)])
    assert (cost.texts()["trained"], cost.texts()["gflops"]) == ("7", "1,234")
    _, cost = only([took(5.0, 1.0)])
    assert (cost.texts()["trained"], cost.texts()["gflops"]) == ("–", "–"), "older rows do not say"


def test_two_configurations_of_a_line_are_a_range():
    rows = [took(5.0, 1.0, target="cloth", trained_parameters=10, gflops=12.34, config_hash="c1"),
            took(5.0, 1.0, target="parts", trained_parameters=2000, gflops=9.9, config_hash="c2")]  # fmt: skip
    _, cost = only(rows)
    assert (cost.texts()["trained"], cost.texts()["gflops"]) == ("10 to 2,000", "9.90 to 12.3")
    assert cost.record()["trained_parameters"] == 2000


def test_pages_and_files_have_them_beside_quality(board):
    rows = [took(5.0, 1.0, target="cloth", trained_parameters=0, gflops=0.5), make_row(target="photos", seed=0)]
    report = build(rows, board)
    cloth, photos = report.tables
    lines = render.markdown(cloth.grid()).splitlines()
    heads, cells = ([text.strip() for text in lines[at].strip("|").split(" | ")] for at in (0, 2))
    beside = dict(zip(heads, cells, strict=True))
    assert heads[-5:] == ["image AUROC", "encode + score, ms", "peak, MiB", "trained", "GFLOPs"]
    assert [beside[head] for head in heads[-4:]] == ["5.00 + 1.00", "900", "0", "0.500"]
    assert photos.grid().columns[-1].title == "image AUROC", "columns without anything in them"
    text = readme(report, ["a.jsonl"])
    assert f"Seconds and memory: {SMALL}; one process. [CSV](cloth.csv)" in text
    assert text.count("Cost stands beside quality.") == 1
    (line,) = csv.DictReader(io.StringIO(render.as_csv(cloth.records())))
    assert (float(line["encode_seconds_per_image"]), line["machine"]) == (0.005, SMALL)
    assert "Cost stands" not in readme(build(rows[1:], board), []), "nothing is known of any cost"
