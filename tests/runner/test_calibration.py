# pytest tests/runner/test_calibration.py
"""Operating points of a run: thresholds from another dataset's normal images, in rows under a key of their own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tests.cells import run
from zsad_bench import metric_keys
from zsad_bench.errors import UsageError
from zsad_bench.leaderboard.tables.mixed_rows import comparable
from zsad_bench.metrics.functional.operating import conformal_threshold, image_points
from zsad_bench.results import rows as store
from zsad_bench.results.image_scores import read_scores
from zsad_bench.runner.calibration import TRANSDUCTIVE, thresholds
from zsad_bench.runner.opened import Opened
from zsad_bench.runner.prepared_run import prepare

OPTIONAL = metric_keys.keys(optional=True)
SCALE = {"demo_medical": {"scale": 0.2}}  # thirty normal images: enough for 5 %
POINTS = {"operating_points": "demo_medical", "prior": "none", "data": SCALE}


def values_of(rows) -> dict:
    return {(row.method, row.category, row.metric): (row.key, row.value) for row in rows}


def test_rows_gain_the_points_and_lose_nothing(group_in, quiet, tmp_path):
    plain = run(group_in(tmp_path / "plain", methods=("clip", "random"), prior="none", data=SCALE), quiet)
    group = group_in(tmp_path / "points", methods=("clip", "random"), **POINTS)
    ran = run(group, quiet)
    usual = [row for row in ran.rows if row.metric not in OPTIONAL]
    assert values_of(usual) == values_of(plain.rows)
    assert {row.calibrated_on for row in usual} == {""}
    points = [row for row in ran.rows if row.metric in OPTIONAL]
    assert {row.metric for row in points} == set(OPTIONAL)
    assert {row.calibrated_on for row in points} == {"demo_medical, 30 normal images"}
    assert not {row.key for row in points} & {row.key for row in usual}
    assert len({row.key for row in points}) == 2, "one key per method"
    assert comparable(store.load(group.board / "rows"))[1] == []


def test_a_method_that_scores_sets_has_no_threshold(quiet):
    scored_apart = SimpleNamespace(spec=SimpleNamespace(id="it"), method=SimpleNamespace(transductive=True))
    found = thresholds(SimpleNamespace(data=None), [scored_apart], quiet, None)["it"]
    assert np.isnan([found.image, found.pixel]).all()
    assert found.why_image == found.why_pixel == TRANSDUCTIVE


def test_values_are_those_at_the_threshold_of_the_normal_scores(group_in, quiet, tmp_path, monkeypatch):
    from zsad_bench.metrics.operating import NormalScores

    seen = {}
    thresholds = NormalScores.thresholds

    def kept(self, *args):
        seen["scores"], seen["found"] = np.concatenate(self.scores), thresholds(self, *args)
        return seen["found"]

    monkeypatch.setattr(NormalScores, "thresholds", kept)
    group = group_in(tmp_path, methods=("clip",), **POINTS)
    ran = run(group, quiet)
    assert seen["scores"].size == 30
    assert seen["found"].image == conformal_threshold(seen["scores"])
    for category in {row.category for row in ran.rows}:
        key = next(row.key for row in ran.rows if row.metric == "image_auroc")
        scores = read_scores(group.board / "scores", key, category)
        expected = image_points(np.array(scores.scores), np.array(scores.labels) == 1, seen["found"].image)
        found = {row.metric: row.value for row in ran.rows if row.category == category and row.metric in expected}
        assert found == {metric: value.value for metric, value in expected.items()}


def test_too_few_normals_say_what_they_allow(group_in, quiet, tmp_path):
    few = {**POINTS, "data": {"demo_medical": {"scale": 0.04}}}
    ran = run(group_in(tmp_path, methods=("clip",), **few), quiet)
    reasons = {row.metric: row.reason for row in ran.rows if row.metric in OPTIONAL}
    assert {reasons[m] for m in OPTIONAL if m.startswith("image")} == {
        "6 normal images allow no rate of false alarms below 14.3%"
    }
    assert reasons["pixel_f1_cal"] is None


def test_no_threshold_comes_from_the_target_itself(group_in, quiet, tmp_path):
    ran = run(group_in(tmp_path, methods=("clip",), targets=("demo_medical", "demo_textures"), **POINTS), quiet)
    reasons = {row.target: row.reason for row in ran.rows if row.metric == "pixel_f1_cal"}
    assert reasons == {"demo_medical": "the normal images of demo_medical are among its own", "demo_textures": None}
    assert "demo_medical has no operating points" in quiet.file.getvalue()


def test_points_that_are_missing_are_computed_and_those_there_are_not(group_in, quiet, tmp_path):
    """A sweep that asks for them later tests its cells again; once they are there nothing is left."""
    run(group_in(tmp_path, methods=("clip",), prior="none", data=SCALE), quiet)
    group = group_in(tmp_path, methods=("clip",), **POINTS)
    assert {row.metric for row in run(group, quiet, skip_complete=True).rows} >= set(OPTIONAL)
    assert run(group, quiet, skip_complete=True).rows == []
    rows = store.load(group.board / "rows")
    assert store.current(rows).conflicts == []


def test_the_source_is_in_the_key(group_in, tmp_path):
    def key(**changes) -> str:
        opened = Opened()
        spec = group_in(tmp_path, methods=("clip",), **{**POINTS, **changes}).specs[0]
        return prepare(spec, opened).expected("demo_textures", opened.target(spec, "demo_textures")).optional_key

    assert key() != key(operating_points="demo_objects", data={"demo_objects": {"scale": 0.04}})
    assert key() != key(data={"demo_medical": {"scale": 0.1}}), "other normal images, another threshold"
    assert key(operating_points=None) == ""


def test_a_dataset_without_normal_images_is_refused(group_in, tmp_path):
    from tests.data.miniatures.files import write_image, write_mask

    write_image(tmp_path / "parts/images/1.png")
    write_mask(tmp_path / "parts/masks/1.png")
    spec = group_in(tmp_path, methods=("clip",), prior="none", operating_points=f"folder:{tmp_path / 'parts'}").specs[0]
    with pytest.raises(UsageError, match="it has no normal test image; name a dataset that has some"):
        prepare(spec, Opened())
