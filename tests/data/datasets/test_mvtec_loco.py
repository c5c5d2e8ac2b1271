# pytest tests/data/datasets/test_mvtec_loco.py
"""MVTec LOCO AD: masks apart in the table and united when loaded; logical and structural anomalies as variants."""

from __future__ import annotations

import pytest

from tests.data.miniatures import mvtec_loco as miniature
from tests.data.miniatures.files import record, write_meta
from zsad_bench.data.datasets.mvtec_loco import MvtecLoco
from zsad_bench.errors import DatasetError


def build(root, **options):
    return MvtecLoco(root, image_size=32, workers=0, **options)


def test_masks_are_apart_in_the_table_and_united_when_loaded(tmp_path):
    miniature.write(tmp_path, "mvtec_style")
    module = build(tmp_path)
    first = next(s for s in module.samples() if s.label)
    folder = "breakfast_box/ground_truth/logical_anomalies/000"
    assert first.masks == (f"{folder}/000.png", f"{folder}/001.png")
    shares = sorted(float(mask.float().mean()) for batch in module.test_dataloader() for mask in batch.masks)
    assert shares == [0.0] * 10 + [0.5] * 10 + [1.0] * 10, "the two halves of an image are not united"
    assert not any("validation" in s.image for s in module.samples())


@pytest.mark.parametrize("kind", ["logical", "structural"])
def test_one_kind_of_anomaly_beside_all_normal_images(kind, tmp_path):
    miniature.write(tmp_path, "mvtec_style")
    module = build(tmp_path, variant=kind)
    assert {s.anomaly_type for s in module.samples()} == {"good", f"{kind}_anomalies"}
    assert sum(s.label == 0 for s in module.samples()) == sum(s.label == 1 for s in module.samples()) == 10
    assert module.expected.anomalous == {"logical": 561, "structural": 432}[kind]


def test_a_copy_that_does_not_tell_the_kinds_apart(tmp_path):
    miniature.write(tmp_path, "mvtec_style")
    top = tmp_path / "mvtec_loco_anomaly_detection"
    records = {
        card.name: [
            record(f"{card.name}/test/good/000.png", "", card.name, "good"),
            record(f"{card.name}/test/logical_anomalies/000.png",
                   f"{card.name}/ground_truth/logical_anomalies/000/000.png", card.name, "defect", 1),
        ]
        for card in MvtecLoco.category_cards
    }  # fmt: skip
    write_meta(top / "meta.json", {"train": {}, "test": records})
    assert len(build(top).samples()) == 10
    with pytest.raises(DatasetError, match=r"variant logical needs .* to be told apart, found defect in .*; take the"):
        build(top, variant="logical").samples()
