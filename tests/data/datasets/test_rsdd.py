# pytest tests/data/datasets/test_rsdd.py
"""RSDD: two folders of photographs with JPEG masks, all anomalous; the copy of Bayes-PFL has normal crops as well."""

from __future__ import annotations

import pytest

from tests.data.miniatures import ksdd2, rsdd
from tests.data.miniatures._pairs import inside
from zsad_bench.data.datasets.rsdd import Rsdd
from zsad_bench.errors import DatasetError, UsageError


@pytest.fixture
def raw(tmp_path):
    rsdd.write(tmp_path, "raw")
    return tmp_path / "RSDDs dataset"


def test_ringing_of_masks_is_no_defect(raw):
    module = Rsdd(raw, image_size=16, workers=0)
    assert module.level == "pixel"
    assert "grey" not in " ".join(module.notes)
    legacy = Rsdd(raw, image_size=16, workers=0, mask_rule="legacy")
    for of, rule in ((module, "canonical"), (legacy, "legacy")):
        masks = [mask for batch in of.test_dataloader() for mask in batch.masks]
        wanted = [inside(n).mean() for n in (1, 2, 1, 2, 3)]
        off = [abs(float(m.float().mean()) - w) for m, w in zip(masks, wanted, strict=True)]
        assert (max(off) < 0.1) == (rule == "canonical"), f"{rule}: {off}"


def test_a_missing_half_and_a_missing_mask_are_named(raw):
    (raw / "Type-II RSDDs dataset/GroundTruth/rail_3.jpg").unlink()
    with pytest.raises(DatasetError, match=r"Type-II .*rail_3\.jpg is anomalous and has no mask"):
        Rsdd(raw).samples()
    (raw / "Type-II RSDDs dataset").rename(raw / "elsewhere")
    with pytest.raises(DatasetError, match=r"has no Type-II RSDDs dataset/Rail surface images; the copy is partial"):
        Rsdd(raw).samples()
    assert len(Rsdd(raw, partial=True).samples()) == 2


def test_the_prepared_copy_has_both_labels(raw, tmp_path_factory):
    with pytest.raises(UsageError, match=r"bayes_pfl is known only from a prepared copy"):
        Rsdd(raw, variant="bayes_pfl").samples()
    prepared = tmp_path_factory.mktemp("RSDD")
    ksdd2.write_prepared(prepared, "Metal15", ("RSDD_II-metal-defect-", "RSDD_I-metal-null-"))
    module = Rsdd(prepared, variant="bayes_pfl")
    assert [(s.label, s.category) for s in module.samples()] == [(1, "rail")] * 2 + [(0, "rail")] * 2
    assert (module.level, Rsdd.level) == ("both", "pixel")
    with pytest.raises(UsageError, match=r"take --data rsdd\.variant=bayes_pfl"):
        Rsdd(prepared).samples()
