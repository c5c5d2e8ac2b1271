# pytest tests/test_speed_metrics.py
"""The script that times the pixel metrics: what it compares computes the same, and what it leaves out is named."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from zsad_bench.errors import ZsadError

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "speed"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("metrics")


def test_a_turn_of_all_of_them(script):
    category = script.generated(10, 64)
    spent, values, skipped = script.measure_all(category, 1, (4, 48))
    ours, learn, steps = (values[f"{name}, 24 images"] for name in ("ours, exact", "scikit-learn", "200-step routine"))
    for name in ("auroc", "ap", "f1max"):
        assert ours[name] == pytest.approx(learn[name], abs=1e-9), f"{name}: ours and scikit-learn's differ"
        assert values["ours, all ten"][f"pixel_{name}"] == ours[name], "all ten at once give another value"
    assert ours["aupro_legacy200"] == pytest.approx(steps["aupro_legacy200"], abs=1e-7)
    rcpro = [values[name]["rcpro"] for name in ("ours, RCPRO, 10 images", "relabelling, 10 images")]
    assert rcpro[0] == pytest.approx(rcpro[1], abs=1e-9), "the two ways to RCPRO differ"
    assert len(values["ours, all ten"]) == 10
    shown = {line[0]: line for line in script.lines_of(spent, skipped)}
    for peer in script.PEERS:
        assert (peer.name in spent) != (peer.name in skipped), f"{peer.name} is both measured and left out, or neither"
        assert peer.name not in skipped or shown[peer.name][-1] == f"skipped: {skipped[peer.name]}"
    assert all(reason in script.text_of(category, {}, skipped) for reason in skipped.values())


def test_values_that_differ_give_no_time(script, monkeypatch):
    wrong = [peer._replace(run=lambda _: {"rcpro": 0.5}) if peer.name.startswith("relabelling") else peer
             for peer in script.PEERS if "RCPRO" in peer.computes]  # fmt: skip
    monkeypatch.setattr(script, "PEERS", wrong)
    with pytest.raises(ZsadError, match=r"rcpro: .* their times cannot be compared"):
        script.measure_all(script.generated(6, 48), 1, (4, 48))


def test_a_package_that_is_missing_is_a_line(script, monkeypatch):
    first = script.PEERS[0]
    monkeypatch.setattr(script, "PEERS", [first, first._replace(name="another", package="no_such_package")])
    spent, _, skipped = script.measure_all(script.generated(4, 48), 1, (4, 48))
    assert skipped == {"another": "no_such_package is not installed"}
    assert script.lines_of(spent, skipped)[1][-1] == "skipped: no_such_package is not installed"
