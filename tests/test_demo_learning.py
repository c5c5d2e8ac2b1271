# pytest tests/test_demo_learning.py
"""The script behind docs/demo_learning.md still measures every method that trains, on few images of a miniature."""

from __future__ import annotations

import importlib
from math import isfinite
from pathlib import Path

import pytest

from tests.miniature import SCALE
from zsad_bench import registry
from zsad_bench.planning.configure import build, trains

SIZE = 32
LEARNING = [name for name in registry.names("methods") if trains(name)]
DESCENDING = [name for name in LEARNING if name != "mrad"]  # it fills a memory, and has no loss


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
    return importlib.import_module("demo_learning")


@pytest.mark.parametrize("name", DESCENDING)
def test_loss_and_metrics_of_every_method_that_trains(name, script, mini_for):
    method = build(name, mini_for(name), {"image_size": SIZE}, seed=0)
    data = registry.load("datasets", "demo_limited")(image_size=SIZE, batch_size=4, scale=SCALE, workers=0)
    values = script._measure(method, data)
    assert values.keys() == {"loss", "image AUROC", "pixel AUROC"}
    assert all(isfinite(value) for value in values.values()), values
    assert all(0 <= values[key] <= 1 for key in ("image AUROC", "pixel AUROC"))


def test_what_has_no_loss_is_not_measured(script):
    assert script.descending() == DESCENDING


def test_a_number_is_a_mean_and_the_deviation_over_seeds(script):
    assert script._shown([1.0, 2.0, 3.0]) == "2.000 ± 1.000"
    assert script._shown([1.0, 2.0, 3.0], "+") == "+2.000 ± 1.000"
