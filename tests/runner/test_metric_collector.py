# pytest tests/runner/test_metric_collector.py
"""A category is reported once, when its last image was seen, with all of its images and no other's."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

from zsad_bench.metrics import sweep_pool
from zsad_bench.metrics.functional.rcpro import image_events
from zsad_bench.runner.expected_rows import metrics_of
from zsad_bench.runner.metric_collector import Collector
from zsad_bench.runner.shared_encoder import Cost
from zsad_bench.types import Batch, Category, Prediction, Sample, SampleInfo

COUNTS = {"nut": 5, "carpet": 3, "brain": 1, "cell": 4}
SIZE = 8


class Table:
    """What a Collector needs of a data module: a dataset of these counts, the odd images of a category anomalous."""

    level = "both"
    unlabelled, further_metrics = "", ()
    groups: ClassVar[dict[str, int]] = {}
    mean = std = (0.5, 0.5, 0.5)

    def samples(self) -> list[Sample]:
        return [
            Sample(f"{name}/{i}.png", (), i % 2, name, "good", "test") for name, n in COUNTS.items() for i in range(n)
        ]

    def info(self, sample: Sample) -> SampleInfo:
        category = Category("made_up", sample.category, sample.category, "object", "industrial")
        return SampleInfo(f"made_up/{sample.image}", category)


class Pass:
    """What a Collector needs of the pass: some methods say nothing before a category is over; what all of them took."""

    device = torch.device("cpu")

    def __init__(self, late: dict[str, Prediction] | None = None, infos: list[SampleInfo] = []) -> None:  # noqa: B006
        self.late, self.infos, self.finished = late or {}, infos, []
        self.transductive = list(self.late)
        self.costs = {info.category: {"one": Cost(2.0, 1.0), "two": Cost(2.0, 0.5)} for info in infos}

    def finish(self, category: Category) -> dict[str, Prediction]:
        self.finished.append(category.name)
        mine = [row for row, info in enumerate(self.infos) if info.category == category]
        return {label: Prediction(p.score[mine], p.map[mine]) for label, p in self.late.items()}


@pytest.fixture
def world() -> SimpleNamespace:
    """The samples in order with their truth and what two methods say of them."""
    table = Table()
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([sample.label for sample in table.samples()])
    masks = torch.zeros(len(labels), SIZE, SIZE, dtype=torch.bool)
    masks[labels == 1, 2:4, 3:6] = True

    def predicted() -> Prediction:
        return Prediction(
            torch.rand(len(labels), generator=generator), torch.rand(*masks.shape, generator=generator)
        )  # fmt: skip

    infos = [table.info(sample) for sample in table.samples()]
    return SimpleNamespace(
        table=table, infos=infos, labels=labels, masks=masks, said={"one": predicted(), "two": predicted()}
    )


def collected(
    world: SimpleNamespace,
    size: int,
    pictured: tuple[str, ...] = (),
    late: tuple[str, ...] = (),
    sweeps: int = 0,
    device: str = "cpu",
) -> tuple[list[tuple], list[int]]:
    """What was reported with batches of `size`, and how many categories were held after each batch.

    late: methods that are transductive. sweeps: threads for sweeps. device: where the pass says that it is.
    """
    reported, held = [], []
    shared = Pass({label: world.said[label] for label in late}, world.infos)
    shared.device = torch.device(device)
    collector = Collector(world.table, lambda *args: reported.append(args), pictured, sweeps)
    collector.on_test_start(None, shared)
    for start in range(0, len(world.infos), size):
        at = slice(start, start + size)
        batch = Batch(torch.zeros(len(world.infos[at]), 3, SIZE, SIZE), world.labels[at], world.masks[at],
                      world.infos[at])  # fmt: skip
        outputs = {label: Prediction(p.score[at], p.map[at]) for label, p in world.said.items() if label not in late}
        collector.on_test_batch_end(None, shared, outputs, batch, start // size)
        held.append(len(collector.states) + len(collector.parts) * 100)
        if device == "cpu":
            assert not [state for states in collector.states.values() for state in states.values()
                        if state.pixel._coming], "sweeps run on while a CPU encodes the next batch"  # fmt: skip
    collector.on_test_end(None, shared)
    assert collector.pool is None, "threads are left behind"
    return reported, held


@pytest.mark.parametrize("size", [1, 2, 3, 13])
def test_each_category_once_with_its_own_images(world, size):
    reported, held = collected(world, size)
    expected = [(label, name) for name in COUNTS for label in ("one", "two")]
    assert [(label, category.name) for label, category, *_ in reported] == expected, "once each, as they end"
    for label, category, found in reported:
        result, ids = found.result, found.ids
        mine = [i for i, info in enumerate(world.infos) if info.category == category]
        assert ids == [world.infos[i].id for i in mine], f"{category.name}: images of another category, or a gap"
        assert (result.n_images, result.n_anomalous) == (len(mine), int(world.labels[mine].sum()))
        assert result.n_regions == result.n_anomalous, "one square an anomalous image"
        assert np.array_equal(result.scores, world.said[label].score[mine].numpy().astype(np.float64))
        assert (found.skipped, found.seconds >= 0) == (0, True)
        assert (found.seconds_encode, found.seconds_score) == (2.0, 1.0 if label == "one" else 0.5)
    assert max(held) <= 1, "more than one unfinished category was held in memory"
    assert held[-1] == 0, "something was left unreported"


@pytest.mark.parametrize("size", [1, 3, 13])
def test_what_comes_when_a_category_is_over_is_the_same(world, size):
    soon, _ = collected(world, size, pictured=("two",))
    late, held = collected(world, size, pictured=("two",), late=("two",))
    assert [(label, category) for label, category, _ in late] == [(label, category) for label, category, _ in soon]
    for (_, _, one), (_, _, other) in zip(soon, late, strict=True):
        assert one.ids == other.ids
        assert np.array_equal(one.result.scores, other.result.scores)
        for name, (value, _) in one.result.values.items():
            assert np.isclose(other.result.values[name].value, value, rtol=1e-12, equal_nan=True), name
        assert [(p.kind, p.id, p.score) for p in one.picks] == [(p.kind, p.id, p.score) for p in other.picks]
    assert max(held) <= 101, "masks of more than one unfinished category were held in memory"
    assert held[-1] == 0, "something was left unreported"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("size", [1, 3, 13])
def test_sweeps_on_threads_change_nothing(world, size, device):
    plain, _ = collected(world, size)
    ours, held = collected(world, size, sweeps=2, device=device)
    assert [(label, category) for label, category, _ in ours] == [(label, category) for label, category, _ in plain]
    for (_, _, one), (_, _, other) in zip(plain, ours, strict=True):
        assert str(one.result.values) == str(other.result.values)
    assert held[-1] == 0


def test_the_seconds_of_a_category_include_its_sweeps(world, monkeypatch):
    pytest.importorskip("numba", reason="without numba RCPRO is not computed from the state")

    def slow(map_HW, mask_HW, *args, **options):
        time.sleep(0.02)
        return image_events(map_HW, mask_HW, *args, **options)

    monkeypatch.setattr(sweep_pool, "image_events", slow)
    reported, _ = collected(world, 13, sweeps=1, device="cuda")
    seconds = {category.name: found.seconds for _, category, found in reported}
    assert seconds["nut"] >= 2 * COUNTS["nut"] * 0.02, "two methods on each image, one thread"


def test_a_test_that_breaks_off_leaves_no_threads(world):
    collector = Collector(world.table, lambda *args: None, sweeps=2)
    collector.on_test_start(None, Pass())
    assert collector.pool is not None
    collector.on_exception(None, Pass(), RuntimeError("no luck"))
    assert collector.pool is None


def test_images_that_were_skipped_are_counted_and_end_with_the_test(world):
    reported = []
    collector = Collector(world.table, lambda *args: reported.append(args))
    kept = [i for i in range(13) if i != 0]  # the first image of the first category could not be read
    batch = Batch(torch.zeros(12, 3, SIZE, SIZE), world.labels[kept], world.masks[kept], [world.infos[i] for i in kept])
    outputs = {label: Prediction(p.score[kept], p.map[kept]) for label, p in world.said.items()}
    collector.on_test_batch_end(None, Pass(), outputs, batch, 0)
    assert world.infos[0].category not in [category for _, category, *_ in reported], "its images may still come"
    collector.on_test_end(None, Pass())
    first = {found.skipped for _, category, found in reported if category == world.infos[0].category}
    others = {found.skipped for _, category, found in reported if category != world.infos[0].category}
    assert (first, others) == ({1}, {0})


def test_the_size_of_batches_changes_no_number(world):
    found = [
        {(label, category.name): found.result.values for label, category, found in collected(world, size)[0]}
        for size in (1, 4, 13)
    ]
    for other in found[1:]:
        for place, metrics in found[0].items():
            for name, (value, reason) in metrics.items():
                assert np.isclose(other[place][name].value, value, rtol=1e-12, equal_nan=True), (place, name)
                assert other[place][name].reason == reason


def test_a_category_of_one_label_is_reported_as_undefined(world):
    reported, _ = collected(world, 4)
    brain = next(found for _, category, found in reported if category.name == "brain")
    value, reason = brain.result.values["image_auroc"]
    assert np.isnan(value), "one normal image has no AUROC"
    assert reason, "undefined without a reason"


def test_an_image_level_dataset_needs_no_maps(world):
    world.table.level = "image"
    world.said = {"one": Prediction(world.said["one"].score, None)}
    reported = []
    collector = Collector(world.table, lambda *args: reported.append(args))
    batch = Batch(torch.zeros(13, 3, SIZE, SIZE), world.labels, None, world.infos)
    collector.on_test_batch_end(None, Pass(), world.said, batch, 0)
    assert [category.name for _, category, *_ in reported] == list(COUNTS)
    assert not [key for _, _, found in reported for key in found.result.values if key.startswith("pixel_")]


@pytest.mark.parametrize("size", [1, 4, 13])
def test_pictures_are_kept_of_those_asked_for(world, size):
    picks = {(label, category.name): found.picks for label, category, found in collected(world, size, ("two",))[0]}
    assert not [label for (label, _), kept in picks.items() if kept and label != "two"], "nobody asked for these"
    mine = {info.id: at for at, info in enumerate(world.infos)}
    largest = next(pick for pick in picks["two", "nut"] if pick.kind == "largest")
    assert mine[largest.id] == 1, "of masks of one size, the first"
    assert np.array_equal(largest.map, world.said["two"].map[1].numpy()), "the map of another method or image"


@pytest.mark.parametrize("size", [1, 4, 13])
def test_objects_of_several_views_have_metrics_of_their_own(world, size):
    """Beside the others, which stay as they are; they are what a complete category then needs."""
    plain, _ = collected(world, size)
    world.table.groups = {info.id: number // 2 for number, info in enumerate(world.infos)}
    grouped, _ = collected(world, size)
    for (_, _, one), (_, _, other) in zip(plain, grouped, strict=True):
        assert tuple(other.result.values) == metrics_of("both", grouped=True)
        assert tuple(one.result.values) == metrics_of("both")
        kept = {key: other.result.values[key] for key in one.result.values}
        assert (str(kept), other.ids) == (str(one.result.values), one.ids)
