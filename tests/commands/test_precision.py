# pytest tests/commands/test_precision.py
"""A precision is asked for by an option or a recipe; rows carry it, and no table mixes it with another one."""

from __future__ import annotations

import csv
import json

import pytest

from zsad_bench.planning import recipe as recipes
from zsad_bench.results import rows as store
from zsad_bench.sweep.stored_plan import StoredPlan

BENCH = ("bench", "--prior", "limited", "--suite", "demo", "--targets", "demo_medical", "--track", "off",
         "--set", "image_size=32")  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_rows_carry_it_and_tables_keep_it_apart(zsad, tmp_path):
    for precision in ("float32", "bf16"):
        said = zsad(*BENCH, "--method", "clip,random", "--precision", precision)
        assert (said.code, said.err) == (0, ""), said.err
    rows = store.load(tmp_path / "leaderboards/demo/rows")
    clip = {p: {(r.category, r.metric): r for r in rows if r.method == "clip" and r.precision == p}
            for p in ("float32", "bf16")}  # fmt: skip
    assert clip["float32"].keys() == clip["bf16"].keys()
    for place, exact in clip["float32"].items():
        other = clip["bf16"][place]
        assert exact.key != other.key, "a row of bf16 would take the place of one of float32"
        assert (str(exact.variant), str(other.variant)) == ("image_size=32", "image_size=32, precision=bf16")
        assert exact.config_hash == other.config_hash
    assert {row.precision for row in rows if row.method == "random"} == {"float32"}, "no tower drew these numbers"
    assert len({row.key for row in rows if row.method == "random"}) == 1
    with (tmp_path / "leaderboards/demo/demo_medical.csv").open(encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["method"] == "clip"]
    assert {(line["variant"], line["precision"]) for line in lines} == {
        ("image_size=32", "float32"), ("image_size=32, precision=bf16", "bf16")
    }  # fmt: skip
    page = (tmp_path / "leaderboards/demo/README.md").read_text(encoding="utf-8")
    assert "precision=bf16" in page, "a reader of the table is not told"


@pytest.mark.usefixtures("small")
def test_what_a_device_cannot_compute_is_one_line(refused):
    line = refused(2, *BENCH, "--method", "clip", "--precision", "tf32")
    assert line.endswith("precision tf32: cpu does not compute with it, which NVIDIA GPUs from Ampere on do; take "
                         "--precision float32")  # fmt: skip
    assert "fp16" in refused(2, *BENCH, "--method", "clip", "--precision", "fp16")


@pytest.mark.usefixtures("small")
def test_a_checkpoint_is_tested_as_it_was_trained(zsad, refused, tmp_path):
    train = (*BENCH, "--method", "anomalyclip", "--epochs", "1")
    assert zsad(*train, "--precision", "bf16").code == 0
    (checkpoint,) = (tmp_path / "runs").glob("*/anomalyclip.safetensors")
    test = ("bench", "--method", "anomalyclip", "--prior", "limited", "--suite", "demo", "--targets", "demo_medical",
            "--track", "off", "--checkpoint", str(checkpoint))  # fmt: skip
    line = refused(2, *test)
    assert "trained with --precision bf16, asked to test with float32; add --precision bf16" in line
    assert zsad(*test, "--precision", "bf16").code == 0
    rows = store.load(tmp_path / "leaderboards/demo/rows")
    assert {(row.precision, row.variant["precision"]) for row in rows} == {("bf16", "bf16")}
    assert len({row.key for row in rows}) == 1, "the test of the checkpoint is another cell than the run"


RECIPE = """suite: demo
methods: [clip]
priors: [limited]
targets: [demo_medical]
settings: {image_size: 32}
"""


@pytest.mark.usefixtures("small")
def test_a_recipe_names_it_and_the_option_goes_before(zsad, tmp_path):
    (tmp_path / "half.yaml").write_text(f"{RECIPE}precision: bf16\n")
    assert recipes.load(tmp_path / "half.yaml").precision == "bf16"
    keys = {}
    for options, found in (((), "bf16"), (("--precision", "float32"), "float32")):
        assert zsad("sweep", "half.yaml", "--track", "off", "--dry-run", *options).code == 0
        place = tmp_path / "runs/sweeps/half/plan.json"
        plan = StoredPlan.from_json(place.read_text(), place)
        assert plan.run_spec_of(plan.groups[0].jobs[0]).precision == found
        keys[found] = {cell["key"] for cell in json.loads(place.with_name("cells.json").read_text())["cells"].values()}
    assert not keys["bf16"] & keys["float32"], "rows of the one would count for the other"


def test_a_wrong_one_in_a_recipe_is_refused_with_its_line(refused, tmp_path):
    (tmp_path / "odd.yaml").write_text(f"{RECIPE}precision: half\n")
    assert "odd.yaml:6: unknown precision 'half'" in refused(2, "sweep", "odd.yaml")
