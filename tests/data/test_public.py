# pytest tests/data/test_public.py
"""Every public dataset, in every layout it comes in, read from a miniature of what people have on disk."""

from __future__ import annotations

import pytest

from tests.data import miniatures
from tests.data.miniatures import Expected
from zsad_bench import registry
from zsad_bench.planning.suite import PAPER

CASES = [(name, layout) for name in miniatures.names() for layout in miniatures.load(name).LAYOUTS]


def build(name, root, **options):
    return registry.load("datasets", name)(root, image_size=16, workers=0, batch_size=4, **options)


@pytest.fixture
def written(tmp_path, request):
    """(data module, expected samples) of one dataset in one layout, and where it lies."""
    name, layout = request.param
    expected = miniatures.load(name).write(tmp_path / "here", layout)
    return build(name, tmp_path / "here"), expected


def table(module) -> list[Expected]:
    return [Expected(s.image, s.masks, s.label, s.category, s.anomaly_type, s.crop) for s in module.samples()]


@pytest.mark.parametrize("written", CASES, indirect=True, ids="-".join)
def test_table_is_what_lies_on_disk(written, request):
    module, expected = written
    layout = request.node.callspec.params["written"][1]
    assert module.layout == layout, f"{module.name} was read as {module.layout}"
    order = [card.name for card in module.category_cards]
    expected = sorted(expected, key=lambda e: (order.index(e.category), e.image.encode(), e.crop or ()))
    assert table(module) == expected, f"{module.name} as {layout}: the table differs from what was written"


@pytest.mark.parametrize("written", CASES, indirect=True, ids="-".join)
def test_every_file_loads_and_masks_cover_the_defects(written):
    module, expected = written
    labels, areas = [], []
    for batch in module.test_dataloader():
        assert batch.normalised().images.isfinite().all(), f"{module.name}: pixels that are not finite"
        labels += batch.labels.tolist()
        areas += [] if batch.masks is None else batch.masks.flatten(1).any(1).tolist()
    assert sorted(labels) == sorted(e.label for e in expected), f"{module.name}: labels after loading"
    if module.has_masks:
        assert areas == [bool(label) for label in labels], f"{module.name}: masks and labels disagree"


@pytest.mark.parametrize("written", CASES, indirect=True, ids="-".join)
def test_hash_follows_content_alone(written):
    module, _ = written
    again = build(module.name, module.root)
    assert again.manifest_hash == module.manifest_hash, f"{module.name}: two readings differ"
    victim = module.root / module.samples()[0].image
    victim.write_bytes(victim.read_bytes() + b"\0")
    assert build(module.name, module.root).manifest_hash != module.manifest_hash, f"{module.name}: a change was missed"


@pytest.mark.parametrize("written", CASES, indirect=True, ids="-".join)
def test_layout_can_be_forced_and_names_can_be_chosen(written):
    module, _ = written
    assert build(module.name, module.root, layout=module.layout).samples() == module.samples()
    raw = build(module.name, module.root, prompt_names="raw")
    assert {c.prompt_name for c in raw.categories()} == {c.name for c in module.categories()}
    assert raw.manifest_hash != module.manifest_hash, "prompt names are part of what is tested, and of its hash"


@pytest.mark.parametrize("name", [n for n in miniatures.names() if len(miniatures.load(n).SAME) > 1])
def test_layouts_agree(name, tmp_path):
    """Labels, categories, types where both know them, and mask pixels, image by image in the order of the images."""
    readings = []
    for layout in miniatures.load(name).SAME:
        miniatures.load(name).write(tmp_path / layout, layout)
        module = build(name, tmp_path / layout)
        masks = [b.masks for b in module.test_dataloader()]
        area = sorted(int(m.sum()) for b in masks if b is not None for m in b)
        readings.append((sorted((s.category, s.label) for s in module.samples()), area))
    assert all(reading == readings[0] for reading in readings), f"{name}: layouts differ: {readings}"


def test_every_dataset_of_the_papers_has_a_miniature():
    """One that was just added, here or in another package, need not: its contract tests skip and say so."""
    lacking = set(PAPER.targets) - set(miniatures.names())
    assert not lacking, f"no miniature of {sorted(lacking)}"
    assert all(miniatures.load(name).LAYOUTS for name in miniatures.names())
