# pytest tests/tracking/test_wandb_run.py
"""Which rows are one wandb run, and what it is found by."""

from __future__ import annotations

import pytest

from zsad_bench.tracking.wandb_run import SHARED, tracked

OTHER = {"draw": 2, "seed": 2, "image_size": 518}


@pytest.mark.parametrize("field", SHARED)
def test_what_decides_the_numbers_makes_another_run(record, field):
    other = {**record, field: OTHER.get(field, "other")}
    assert tracked(other).id != tracked(record).id, f"{field} is not part of the id"


@pytest.mark.parametrize("field", ["target", "category", "metric", "value", "key", "started", "commit", "device"])
def test_targets_and_provenance_do_not(record, field):
    assert tracked({**record, field: "other"}).id == tracked(record).id, f"{field} makes a second run of a cell"


def test_an_id_is_the_same_on_every_machine(record):
    assert tracked(record).id == "dive-a94c067f9166", "ids changed: runs that are on a server would be made twice"


def test_a_run_is_found_by_method_prior_and_suite(record):
    of = tracked({**record, "draw": 3, "variant": "epochs=1"})
    assert of.tags == ("dive", "prior limited", "suite demo")
    assert of.name == "dive · epochs=1 · limited (demo_limited) · seed 1 draw 3"
    assert of.config["line"] == "dive · epochs=1 · limited (demo_limited) · tiny 96 px"
    long = tracked({**record, "prior": "+".join(["mvtec:types=5:draw=1"] * 9)})
    assert max(map(len, long.tags)) <= 64, "wandb refuses longer tags"


@pytest.mark.parametrize(
    ("prior", "said"),
    [
        ("limited", {}),
        ("mvtec:types=5", {"prior_types": 5}),
        ("mvtec:types=5:shots=40", {"prior_types": 5, "prior_shots": 40}),
        ("mvtec:types=5+dtd:types=2", {}),
        ("@kept.jsonl", {}),
        ("a:of=another:package", {}),
    ],
)
def test_the_curve_knows_what_a_prior_keeps(record, prior, said):
    config = tracked({**record, "prior": prior}).config
    assert {name: config[name] for name in config if name.startswith("prior_") and name != "prior_hash"} == said
