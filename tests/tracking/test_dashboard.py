# pytest tests/tracking/test_dashboard.py
"""The workspace as it would be sent: its panels read what the mirror writes."""

from __future__ import annotations

import json
import sys

import pytest

from zsad_bench.errors import ZsadError
from zsad_bench.tracking.dashboard import METRICS, spec, workspace
from zsad_bench.tracking.run_summary import summary
from zsad_bench.tracking.wandb_run import tracked


def panels(made) -> dict[str, list[dict]]:
    """Section -> its panels."""
    section = json.loads(spec(made))["spec"]["section"]
    return {each["name"]: each["panels"] for each in section["panelBankConfig"]["sections"]}


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(ZsadError, match=r"pip install 'zsad-bench\[dashboard\]'"):
        workspace("me", "mine", "demo", ["demo_textures"])


@pytest.fixture(scope="module")
def made():
    pytest.importorskip("wandb_workspaces", reason="the extra `dashboard` is not installed")
    return workspace("me", "mine", "demo", ["demo_textures", "elpv"])


def test_table_priors_curve_maps_and_losses_are_there(made):
    found = {name: [panel["viewType"] for panel in each] for name, each in panels(made).items()}
    assert found == {
        "Results": ["Weave"],
        "Rich against limited prior": ["Bar Chart"] * 4,
        "Prior curve": ["Scatter Plot"] * 4,
        "Maps": ["Media Browser"] * 2,
        "Training": ["Run History Line Plot"],
    }


def test_panels_read_what_the_mirror_writes(made, record):
    by_section = panels(made)
    written = summary([{**record, "metric": metric} for metric in METRICS], ["demo_textures"])
    config = tracked({**record, "prior": "mvtec:types=2:shots=8"}).config
    for bar in by_section["Rich against limited prior"]:
        assert bar["config"]["metrics"][0] in written
        assert bar["config"]["groupBy"].removesuffix(".value") in config
    for plot in by_section["Prior curve"]:
        assert plot["config"]["xAxis"].removeprefix("config:").removesuffix(".value") in config
        assert plot["config"]["yAxis"].removeprefix("summary:") in written
    keys = [panel["config"]["mediaKeys"] for panel in by_section["Maps"]]
    assert keys == [["maps/demo_textures"], ["maps/elpv"]]
    assert '"results"' in json.dumps(by_section["Results"]), "the table has another name"


def test_it_shows_one_suite(made):
    (runs,) = json.loads(spec(made))["spec"]["section"]["runSets"]
    assert [(f["key"]["name"], f["value"]) for f in runs["filters"]["filters"]] == [("suite", "demo")]
