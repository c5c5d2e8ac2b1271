# pytest tests/commands/test_robustness.py
"""Corruptions and wordings as a user meets them: `bench --corruption`, the table and the figure."""

from __future__ import annotations

import csv

import pytest

from tests.made_up_rows import make_row
from zsad_bench.results import rows as store

BENCH = ("bench", "--suite", "demo", "--targets", "demo_objects", "--prior", "limited", "--set", "image_size=32")


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_bench_under_conditions(zsad, tmp_path):
    said = zsad(*BENCH, "--method", "clip,center_prior", "--corruption", "jpeg:5,rotation:5", "--wording", "object")
    assert said.code == 0, said.err
    rows = store.load(tmp_path / "leaderboards/demo/rows")
    assert {(row.method, row.data_options) for row in rows} == {
        *((method, options) for method in ("clip", "center_prior")
          for options in ("", "corruption=jpeg:5", "corruption=rotation:5")),
        ("clip", "wording=object"),
    }  # fmt: skip
    assert "Center prior is not tested under other wordings" in said.out
    assert "image AUROC: relative change" in said.out
    page = (tmp_path / "leaderboards/demo/README.md").read_text(encoding="utf-8")
    assert "rows of corrupted images or other wordings; `zsad-bench table robustness`" in page
    with (tmp_path / "leaderboards/demo/demo_objects.csv").open(newline="", encoding="utf-8") as file:
        shown = {(line["method"], line["metric"]): float(line["mean"]) for line in csv.DictReader(file) if line["mean"]}
    plain = [row.value for row in rows if (row.method, row.metric, row.data_options) == ("clip", "image_auroc", "")]
    assert shown["clip", "image_auroc"] == pytest.approx(sum(plain) / len(plain))

    said = zsad("table", "robustness", "--suite", "demo")
    assert said.code == 0, said.err
    assert "Center prior" in said.out
    with (tmp_path / "tables/robustness.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {(line["method"], line["condition"]) for line in lines} >= {("clip", "object"), ("clip", "jpeg")}
    assert all(line["datasets"] == "demo_objects" for line in lines)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--corruption", "jpg:3"), "unknown corruption 'jpg'; did you mean jpeg"),
        (("--corruption", "jpeg:9"), "corruption jpeg:9: expected a severity from 1 to 5, as in jpeg:3"),
        (("--wording", "germn"), "unknown wording 'germn'; did you mean german"),
        (("--data", "condition=jpeg:3"), "name it with --corruption or --wording instead"),
        (("--targets", "demo_objects@jpeg:3"), "name the target alone, and jpeg:3 with --corruption"),
    ],
)
@pytest.mark.usefixtures("small")
def test_what_is_refused_is_one_line(refused, options, says):
    assert says in refused(2, *BENCH, "--method", "clip", *options)


@pytest.fixture
def rows(tmp_path):
    """A made-up demo board: two methods with a corruption, one with a wording."""
    made = []
    for method, factor in (("clip", 0.9), ("anomalyclip", 0.8)):
        for options, times in (("", 1.0), ("corruption=jpeg:1", factor), ("corruption=jpeg:5", factor - 0.2)):
            for target in ("demo_objects", "elpv"):
                fields = {"data_options": options, "data_hash": f"d{target}{options}", "suite": "demo"}
                key = f"{method}{options}{target}"
                made.append(make_row(method=method, target=target, value=0.8 * times, key=key, **fields))
    store.append(tmp_path / "leaderboards/demo/rows/made_up.jsonl", made)
    return made


def test_the_table_from_rows(zsad, rows, tmp_path):
    said = zsad("table", "robustness")
    assert said.code == 0, said.err
    assert "−20.0" in said.out, "of CLIP over severities 1 and 5"
    assert "ELPV, image AUROC: relative change" in said.out, "a dataset that is in no mean has a table of its own"
    assert all((tmp_path / "tables" / f"robustness.{ending}").is_file() for ending in ("csv", "md", "tex"))
    only = zsad("table", "robustness", "--method", "clip", "--dataset", "demo_objects")
    assert only.code == 0, only.err
    assert "AnomalyCLIP" not in only.out
    assert "ELPV" not in only.out


def test_what_the_table_lacks(refused, rows, tmp_path):
    assert "no rows with method dive; there are" in refused(1, "table", "robustness", "--method", "dive")
    plain = tmp_path / "plain/demo/rows/made_up.jsonl"
    store.append(plain, store.standard(rows))
    line = refused(1, "table", "robustness", "--board", "plain")
    assert "run `zsad-bench sweep robustness_demo`, or bench with --corruption or --wording" in line
    store.append(tmp_path / "bad/demo/rows/made_up.jsonl", [row for row in rows if row.data_options])
    line = refused(1, "table", "robustness", "--board", "bad")
    assert "no row under a condition has one of the same run without it" in line


def test_other_tables_leave_these_rows_out(zsad, rows):
    said = zsad("table", "pivot", "--rows", "method", "--cols", "dataset", "--metric", "image_auroc")
    assert said.code == 0, said.err
    assert "80.0" in said.out
    assert "56.0" not in said.out
    assert zsad("rows", "verify", "leaderboards/demo").code == 0


def test_the_figure_from_rows(zsad, refused, rows, tmp_path):
    pytest.importorskip("matplotlib", reason="the extra `figures` is not installed")
    said = zsad("figure", "robustness", "--dataset", "demo_objects")
    assert said.code == 0, said.err
    assert (tmp_path / "figures/robustness.svg").is_file()
    assert "Relative change" in said.out
    assert "takes one metric" in refused(2, "figure", "robustness", "--metric", "image_auroc,pixel_aupro")


def test_samples_of_corrupted_images(zsad, tmp_path):
    from tests.data.miniatures.files import write_image

    for name in ("good/0.png", "bad/0.png"):
        write_image(tmp_path / "bottle" / name)
    plain = zsad("data", "samples", f"folder:{tmp_path}/bottle", "--out", "plain.png")
    bad = zsad("data", "samples", f"folder:{tmp_path}/bottle@gaussian_noise:5", "--out", "bad.png")
    assert (plain.code, bad.code) == (0, 0), bad.err
    assert (tmp_path / "plain.png").read_bytes() != (tmp_path / "bad.png").read_bytes()
    assert "leave out @jpeg:3" in zsad("data", "check", "elpv@jpeg:3").err
