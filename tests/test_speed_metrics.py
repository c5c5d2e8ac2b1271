# pytest tests/test_speed_metrics.py
"""The script that times the pixel metrics still runs, and what it compares computes the same thing."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "speed"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    module = importlib.import_module("metrics")
    monkeypatch.setattr(module, "WARM_UP", (4, 48))
    return module


def test_a_turn_of_all_of_them(script):
    category = script.generated(10, 64)
    found = {one.peer.name: one for one in script.measure_all(category, 1)}
    ours, learn, steps = (found[name].values for name in ("ours, exact", "scikit-learn", "200-step routine"))
    for name in ("auroc", "ap", "f1max"):
        assert ours[name] == pytest.approx(learn[name], abs=1e-9), f"{name}: ours and scikit-learn's differ"
    assert ours["aupro_legacy200"] == pytest.approx(steps["aupro_legacy200"], abs=1e-7)
    rcpro = [found[name].values["rcpro"] for name in ("ours, RCPRO, 10 images", "relabelling, 10 images")]
    assert rcpro[0] == pytest.approx(rcpro[1], abs=1e-9), "the two ways to RCPRO differ"
    shown = script.table(list(found.values()), {"exact": 1.0}, category)
    for name, one in found.items():
        assert f"| {name} |" in shown, f"{name} has no line:\n{shown}"
        assert one.skipped or one.seconds[0] >= 0
        assert not one.skipped or f"skipped: {one.skipped}" in shown, f"{name} is left out in silence"
