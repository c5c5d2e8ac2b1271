# pytest tests/test_precision_script.py
"""The script behind docs/precision.md finds the largest change; how far bf16 moves the demo's numbers has a bound."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from zsad_bench.metrics import IMAGE_KEYS, PIXEL_KEYS

METRIC_KEYS = (*IMAGE_KEYS, *PIXEL_KEYS)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
    return importlib.import_module("precision")


def test_changes_are_in_points_and_of_equal_places(script):
    before = {0: {("clip", "a", "image_auroc"): 0.5, ("clip", "b", "image_auroc"): 0.25}}
    after = {0: {("clip", "a", "image_auroc"): 0.498, ("clip", "b", "image_auroc"): 0.2505}}
    largest = max(script.changes(before, after))
    assert largest.points == pytest.approx(0.2)
    assert str(largest) == "0.200 points (clip · a · image_auroc)"
    with pytest.raises(ValueError, match="2 and 1 numbers, of other places"):
        script.changes(before, {0: {("clip", "a", "image_auroc"): 0.5}})
    with pytest.raises(ValueError, match="2 and 2 numbers, of other places"):
        script.changes(before, {1: before[0]})


def test_seeds_are_compared_with_each_other(script):
    coop, clip = ("coop", "a", "image_auroc"), ("clip", "a", "image_auroc")
    by_chance = script.between_seeds({0: {coop: 0.5, clip: 0.2}, 1: {coop: 0.51}, 2: {coop: 0.48}})
    assert sorted(round(each.points, 9) for each in by_chance) == [1.0, 2.0, 3.0]
    assert {each.place for each in by_chance} == {coop}
    assert script.between_seeds({0: {coop: 0.5}}) == []


def largest(capsys, script, *arguments: str) -> dict[str, float]:
    """Method or metric -> the largest change of a dataset's number that the script prints, in points."""
    common = ["--targets", "demo_textures,demo_medical", "--data", "scale=0.3"]
    assert script.main([*arguments, *common]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if ", a dataset: " in line]
    return {line.partition(",")[0]: float(line.split()[3]) for line in lines}


@pytest.mark.slow
def test_the_script_prints_the_largest_changes_and_bf16_stays_below_its_bound(script, capsys, tmp_path, monkeypatch):
    """Of training-free methods on a part of the demo; docs/precision.md has more, and what training adds.

    Not of the best F1 of images: a category has some thirty, and one that changes its place moves it by a point.
    """
    monkeypatch.chdir(tmp_path)
    points = largest(capsys, script, "--methods", "clip,clip_ac")
    assert points.keys() == {*METRIC_KEYS, "clip", "clip_ac", "all"}
    assert points["all"] > 0, "nothing moved: both were computed in one precision"
    assert max(points[metric] for metric in METRIC_KEYS if metric != "image_f1max") < 0.3, points


@pytest.mark.slow
def test_features_stored_as_float16_stay_below_the_bound(script, capsys, tmp_path, monkeypatch):
    """Of a method that learns from them and of one that is tested on them; both read them in the test, too."""
    monkeypatch.chdir(tmp_path)
    words = ("--methods", "clip,coop", "--prior", "limited", "--epochs", "5", "--feature-type", "float16")
    points = largest(capsys, script, *words)
    assert points.keys() == {*METRIC_KEYS, "clip", "coop", "all"}
    assert points["all"] > 0, "nothing moved: nothing was rounded"
    assert max(points[metric] for metric in METRIC_KEYS if metric != "image_f1max") < 0.3, points
