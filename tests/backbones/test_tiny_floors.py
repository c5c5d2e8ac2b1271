# pytest tests/backbones/test_tiny_floors.py -m slow
"""The embedded tiny CLIP keeps what its model card promises, on a draw of targets that no report uses."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from zsad_bench.backbones.load import load_backbone

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "score_tiny_clip.py"


@pytest.mark.slow
def test_floors_hold_on_a_fresh_draw() -> None:
    spec = importlib.util.spec_from_file_location("score_tiny_clip", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    found = script.score(load_backbone("tiny"), seed=7001, scale=0.4, resamples=2)
    assert not script.missed_floors(found["mean"]), f"floors missed: {script.missed_floors(found['mean'])}"
