# pytest tests/data/datasets/test_mvtec_ad2.py
"""MVTec AD 2: which test set is read, what is unknown of the private ones, and masks that are not guessed."""

from __future__ import annotations

import shutil

import pytest

from tests.data.miniatures import mvtec_ad2 as miniature
from zsad_bench.data.check import check
from zsad_bench.data.datasets.mvtec import Mvtec
from zsad_bench.data.datasets.mvtec_ad2 import MvtecAd2
from zsad_bench.errors import DatasetError, DatasetLayoutError, UsageError
from zsad_bench.types import UNKNOWN


@pytest.fixture
def raw(tmp_path):
    miniature.write_download(tmp_path / "mvtec_ad_2")
    return tmp_path / "mvtec_ad_2"


def build(root, **options):
    return MvtecAd2(root, image_size=16, workers=0, **options)


def test_of_a_private_set_no_label_is_known(raw):
    module = build(raw, variant="test_private")
    samples = module.samples()
    assert {(s.label, s.masks, s.anomaly_type) for s in samples} == {(UNKNOWN, (), "unknown")}
    assert [s.image for s in samples[:2]] == ["can/test_private/000_regular.png", "can/test_private/001_regular.png"]
    assert module.unlabelled == "the labels of test_private are not public"
    assert "holds 16 test images without labels, expected 2045 (evidence S)" in " ".join(module.notes)
    assert module.shortfall == "16 of 2045"
    mixed = build(raw, variant="test_private_mixed")
    names = [card.name for card in mixed.category_cards]
    assert [s.image for s in mixed.samples()] == [f"{name}/test_private_mixed/000_mixed.png" for name in names]
    public = build(raw)
    assert public.unlabelled == ""
    assert len({public.manifest_hash, module.manifest_hash, mixed.manifest_hash}) == 3


def test_a_check_of_a_private_set_counts_images_alone(raw):
    report = check(build(raw, variant="test_private"), workers=1)
    assert (report.verdict, report.images, report.normal, report.anomalous) == ("clean", 16, 0, 0)
    assert [note for note in report.notes if "expected" in note] == [
        "mvtec_ad2 holds 16 test images without labels, expected 2045 (evidence S)"
    ]


def test_a_test_set_that_is_not_there_is_named_in_one_line(raw):
    shutil.rmtree(raw / "can/test_private")
    with pytest.raises(DatasetError, match=r"has no can/test_private; unpack that test set, take another") as e:
        build(raw, variant="test_private").samples()
    assert "\n" not in str(e.value)
    assert len(build(raw, variant="test_private", partial=True).samples()) == 14
    assert len(build(raw).samples()) == 8 * 2 * len(miniature.LIGHTS), "the public set is whole"
    with pytest.raises(UsageError, match="unknown variant of mvtec_ad2 'test_secret'; did you mean test_private"):
        build(raw, variant="test_secret")


def test_a_missing_mask_is_not_that_of_another_light(raw):
    (raw / "rice/test_public/ground_truth/bad/000_shift_1_mask.png").unlink()
    with pytest.raises(DatasetError, match=r"rice.test_public.bad.000_shift_1\.png is anomalous and has no mask"):
        build(raw).samples()


def test_names_in_prompts_and_the_other_mvtec(raw):
    assert [c.prompt_name for c in build(raw).categories()][-2:] == ["wall plugs", "walnuts"]
    with pytest.raises(DatasetLayoutError, match="is MVTec AD 2, another dataset"):
        Mvtec(raw).samples()
