# pytest tests/data/test_data_contract.py
"""What every dataset in `data/datasets/` keeps to, whatever it is; a new file is tested without writing a test."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.data import miniatures
from zsad_bench import registry
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.data.demo.module import DemoDataModule
from zsad_bench.data.user_data import OwnDataModule
from zsad_bench.types import Batch

SCALE, SIZE = 0.04, 32


# A user's own data has no files before there is a user; tests/data/datasets/ gives `folder` and `csv` theirs.
NAMES = [name for name in registry.names("datasets") if not issubclass(registry.load("datasets", name), OwnDataModule)]


@pytest.fixture(scope="module", params=NAMES)
def build(request, cache, tmp_path_factory):
    """build(**options): a data module of the dataset, of its miniature where the real files are missing."""
    name = request.param
    cls = registry.load("datasets", name)
    fixed = {"scale": SCALE} if issubclass(cls, DemoDataModule) else {}
    if cls.available() is None:
        if name not in miniatures.names():
            pytest.skip(f"{name}: not found on this machine, and no tests/data/miniatures/{name}.py")
        fixed = {"root": tmp_path_factory.mktemp(name) / "here"}
        miniatures.load(name).write(fixed["root"], miniatures.load(name).LAYOUTS[0])
    return lambda **options: cls(**{"image_size": SIZE, "workers": 0, "batch_size": 4, **fixed, **options})


@pytest.fixture(scope="module")
def module(build) -> ZeroShotDataModule:
    return build()


def some_of_each(module: ZeroShotDataModule):
    """Two normal and two anomalous samples of each category."""
    return [
        sample
        for category in module.categories()
        for label in (0, 1)
        for sample in [s for s in module.samples() if (s.category, s.label) == (category.name, label)][:2]
    ]


def test_card_is_filled(module):
    for line in ("title", "licence", "url", "citation"):
        assert getattr(module, line), f"{module.name}: `{line}` of the card is empty"
    assert module.domain in ("industrial", "medical"), f"{module.name}: domain {module.domain}"
    assert module.level in ("image", "pixel", "both"), f"{module.name}: level {module.level}"
    assert isinstance(module.redistribute, bool), f"{module.name}: redistribute must be yes or no"
    assert module.expected.evidence in tuple("VSIR"), f"{module.name}: evidence {module.expected.evidence}"


def test_categories_can_be_prompted(module):
    for category in module.categories():
        assert category.dataset == module.name, f"{category} says it is of another dataset"
        assert category.prompt_name.strip() == category.prompt_name != "", f"no name to prompt with: {category}"
        assert category.kind in ("object", "texture", "organ"), category
        assert category.domain in ("industrial", "medical"), category
        hash(category)


def test_table_is_sorted_and_the_same_each_time(module, build):
    samples = module.samples()
    order = [c.name for c in module.categories()]
    keys = [(order.index(s.category), s.image.encode(), s.crop or ()) for s in samples]
    assert keys == sorted(keys), f"{module.name}: samples are not in the order of categories and paths"
    assert len({s.id for s in samples}) == len(samples), f"{module.name}: an image occurs twice"
    assert build().samples() == samples, f"{module.name}: two readings differ"


def test_every_category_has_the_labels_its_level_promises(module):
    wanted = {1} if module.level == "pixel" else {0, 1}
    for category in module.categories():
        labels = {s.label for s in module.samples() if s.category == category.name}
        assert labels == wanted, f"{module.name}/{category.name}: labels {labels}, expected {wanted}"


def test_masks_follow_labels(module):
    for sample in module.samples():
        assert (sample.anomaly_type == "good") == (sample.label == 0), f"type and label disagree: {sample}"
        if sample.label == 0 or not module.has_masks:
            assert not sample.masks, f"a mask that nothing should have: {sample}"
        else:
            assert sample.masks, f"anomalous without a mask: {sample}"


def test_manifest_hash_is_stable_and_sensitive(module, build):
    samples = module.samples()
    assert build().manifest_hash == module.manifest_hash, "hash differs between two readings of the same files"
    assert build(samples=samples[::-1]).manifest_hash == module.manifest_hash, "hash depends on the order given"
    assert build(samples=samples[1:]).manifest_hash != module.manifest_hash, "hash misses a sample that is gone"
    relabelled = [replace(samples[0], anomaly_type="other"), *samples[1:]]
    assert build(samples=relabelled).manifest_hash != module.manifest_hash, "hash misses a changed label"


def test_batches_have_the_promised_shapes(module, build):
    chosen = some_of_each(module)
    small = build(samples=chosen)
    batches = list(small.test_dataloader())
    assert [i.id for b in batches for i in b.samples] == [small.info(s).id for s in small.samples()], "order or ids"
    assert sum(len(b) for b in batches) == len(chosen), "a sample is missing or repeated"
    for batch in batches:
        assert isinstance(batch, Batch)
        assert batch.images.shape[1:] == (3, SIZE, SIZE)
        assert batch.images.dtype == torch.uint8
        assert batch.labels.dtype == torch.int64
        assert batch.normalised().images.isfinite().all()
        if not module.has_masks:
            assert batch.masks is None, "an image-level dataset has no masks"
            continue
        assert batch.masks.shape == (len(batch), SIZE, SIZE)
        assert batch.masks.dtype == torch.bool
        assert not batch.masks[batch.labels == 0].any(), "a normal image has a mask that is not empty"
        assert batch.masks[batch.labels == 1].flatten(1).any(1).all(), "an anomalous image has an empty mask"


def test_methods_learn_nothing_of_the_label(module):
    info = module.info(module.samples()[0])
    assert set(vars(info)) == {"id", "category", "content"}  # the last is of the pixels, which a method sees
    assert info.id.startswith(f"{module.name}/")
