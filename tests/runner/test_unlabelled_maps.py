# pytest tests/runner/test_unlabelled_maps.py
"""A run on a private test set: scores and maps are written, metrics are absent with the reason, nothing is learned."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cells import run
from tests.data.miniatures import mvtec_ad2 as miniature
from zsad_bench.errors import UsageError
from zsad_bench.metrics import IMAGE_KEYS, PIXEL_KEYS
from zsad_bench.results.image_scores import read_scores

WHY = "the labels of test_private are not public"


@pytest.fixture
def fields(tmp_path):
    miniature.write_download(tmp_path / "mvtec_ad_2")
    options = {"root": str(tmp_path / "mvtec_ad_2"), "variant": "test_private"}
    return {"targets": ("mvtec_ad2:can+vial",), "data": {"mvtec_ad2": options}, "prior": "none"}


def test_scores_and_maps_are_all_there_is(group_in, quiet, tmp_path, fields):
    group = group_in(tmp_path, methods=("clip", "random"), **fields)
    ran = run(group, quiet)
    assert {row.metric for row in ran.rows} == {*IMAGE_KEYS, *PIXEL_KEYS, "pixel_aupro_005"}
    assert {(row.value, row.reason, row.category) for row in ran.rows} == {(None, WHY, "can"), (None, WHY, "vial")}
    assert {(row.n_images, row.n_anomalous, row.data_options) for row in ran.rows} == {(2, 0, "variant=test_private")}
    for key in {row.key for row in ran.rows}:
        scores = read_scores(group.board / "scores", key, "can")
        assert (scores.labels, scores.types) == ([-1, -1], ["unknown"] * 2)
        folder = group.board / "maps" / key
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*.npy")}
        assert {f"{c}/test_private/{n}_regular.png.npy" for c in ("can", "vial") for n in ("000", "001")} == names
        map_HW = np.load(folder / "can/test_private/000_regular.png.npy", allow_pickle=False)
        assert (map_HW.shape, map_HW.dtype) == ((32, 32), np.float32)
    said = " ".join(quiet.file.getvalue().split())
    assert f"mvtec_ad2: {WHY}: no metric is defined, scores are written" in said
    assert not list(group.board.glob("pictures/*")), "a picture would say which image is a false alarm"


def test_the_public_set_has_the_metric_of_its_authors(group_in, quiet, tmp_path, fields):
    fields["data"]["mvtec_ad2"]["variant"] = "test_public"
    ran = run(group_in(tmp_path, methods=("random",), **fields), quiet)
    values = {row.metric: row.value for row in ran.rows if row.category == "can"}
    assert values["pixel_aupro_005"] is not None
    assert not (tmp_path / "board/maps").exists()


@pytest.mark.parametrize(("asked", "says"), [
    ({"prior": "mvtec_ad2", "targets": ("demo_textures",)}, f"prior mvtec_ad2: {WHY}, so that nothing can be learned"),
    ({"operating_points": "mvtec_ad2", "targets": ("demo_textures",)}, f"--operating-points mvtec_ad2: {WHY}"),
])  # fmt: skip
def test_nothing_is_learned_from_it(group_in, quiet, tmp_path, fields, asked, says):
    with pytest.raises(UsageError, match=says):
        run(group_in(tmp_path, methods=("anomalyclip" if "prior" in asked else "clip",), **{**fields, **asked}), quiet)
