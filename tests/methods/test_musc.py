# pytest tests/methods/test_musc.py
"""MuSc scores a set: against a plain reference, in blocks of any size, in subsets, and not where there is none."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from tests.miniature import random_batch
from zsad_bench.errors import UsageError
from zsad_bench.methods._prediction import predict_set
from zsad_bench.methods.musc import REMARK, WITHOUT_NORMAL, Musc, fewest, partners, rescored
from zsad_bench.planning.configure import build
from zsad_bench.types import Category, Features, SampleInfo

SIZE, COUNT = 48, 7
CATEGORY = Category("made_up", "nut", "nut", "object", "industrial")


@pytest.fixture
def musc(mini):
    """musc(seed=0, **settings): on the miniature, at 48 px."""
    return lambda seed=0, **settings: build("musc", mini, {"image_size": SIZE, **settings}, seed).eval()


def some_samples(count: int) -> list[SampleInfo]:
    return [SampleInfo(f"made_up/{number}.png", CATEGORY) for number in range(count)]


def features_of(method: Musc, count: int = COUNT) -> Features:
    with torch.no_grad():
        return method.encode(random_batch(SIZE, count).images, some_samples(count))


def plainly(method: Musc, features: Features) -> torch.Tensor:
    """(n,N) grid scores, patch by patch from the paper's equations."""
    rows, cols = features.grid
    layers = []
    for tap, side in itertools.product(method._taps(), method.config.degrees):
        reach, patches = side // 2, []
        for image in features.patches(tap).double():
            standard = (image - image.mean()) / torch.sqrt(image.var(unbiased=False) + 1e-5)
            laid_out = F.pad(standard.view(rows, cols, -1), (0, 0, reach, reach, reach, reach))
            sums = [laid_out[y : y + side, x : x + side].sum((0, 1)) for y in range(rows) for x in range(cols)]
            patches.append(torch.stack([each / each.norm() for each in sums]))
        scores = []
        for own in patches:
            nearest = [torch.cdist(own, other).amin(1) for other in patches if other is not own]
            count = int(0.3 * (len(patches) - 1))
            scores.append(torch.stack(nearest).sort(0).values[:count].mean(0))
        layers.append(torch.stack(scores))
    return torch.stack(layers).mean(0).float()


@pytest.mark.parametrize("blocks", [None, (1, 1), (3, 2), (2, 5)])
def test_blocks_of_any_size_give_the_plain_scores(musc, monkeypatch, blocks):
    method = musc()
    features = features_of(method)
    if blocks is not None:
        monkeypatch.setattr(Musc, "_block_sizes", lambda *_: blocks)
    found = method.grid_scores(features, some_samples(COUNT))
    torch.testing.assert_close(found, plainly(method, features), rtol=0, atol=2e-6)


def test_little_memory_is_small_blocks(musc):
    features = features_of(musc())
    tap = musc()._taps()[0]
    sizes = {room: musc()._block_sizes(features, tap, room) for room in (2**30, 2**17, 1)}
    # Of an image: 36 patches of 64 numbers, and 36 distances to each of 7; of two images 36 x 36 cosines.
    assert sizes == {2**30: (COUNT, COUNT), 2**17: (2**16 // (4 * 36 * (64 + COUNT)), 1), 1: (1, 1)}


def test_another_set_gives_the_same_images_other_scores(musc):
    method, features = musc(), features_of(musc())
    whole = method.score_set(features, some_samples(COUNT))
    part = method.score_set(features.select(slice(0, 6)), some_samples(6))
    assert (whole.map[:6] - part.map).abs().amax((1, 2)).min() > 1e-4, "a map does not depend on the seventh image"
    assert not torch.allclose(whole.score[:6], part.score, atol=1e-4)


def test_half_precision_rounds_what_waits_and_nothing_else(musc):
    method = musc(kept_as="float16")
    features = features_of(method)
    assert method.host_features == "float16"
    kept = features.on_host("float16")
    exact, rounded = (method.score_set(of, some_samples(COUNT)) for of in (features, kept))
    assert rounded.map.dtype == torch.float32
    assert 0 < (exact.map - rounded.map).abs().max() < 5e-3
    assert torch.equal(kept.pooled("cls"), features.pooled("cls"))


# --- image scores -----------------------------------------------------------------------------------------------------


def test_windows_average_over_images_that_are_alike():
    scores = torch.tensor([1.0, 3.0, 2.0, 5.0])
    classes = F.normalize(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), dim=1)
    scaled = [0.0, 0.5, 0.25, 1.0]
    torch.testing.assert_close(rescored(scores, classes, (1,)), torch.tensor(scaled))
    # nearest: 0 to 1 (0.8), 1 to 3 (0.96), 2 to 3 (0.8), 3 to 1 (0.96)
    two = torch.tensor([
        (0.0 + 0.8 * 0.5) / 1.8, (0.5 + 0.96 * 1.0) / 1.96, (0.25 + 0.8 * 1.0) / 1.8, (1.0 + 0.96 * 0.5) / 1.96,
    ])  # fmt: skip
    torch.testing.assert_close(rescored(scores, classes, (2,)), two)
    torch.testing.assert_close(rescored(scores, classes, (1, 2)), (torch.tensor(scaled) + two) / 2)
    of_all = (classes @ classes.T) @ torch.tensor(scaled) / (classes @ classes.T).sum(1)
    torch.testing.assert_close(rescored(scores, classes, (9,)), of_all), "a window larger than the set is all of it"
    assert torch.equal(rescored(torch.full((4,), 2.0), classes, (1, 2)), torch.zeros(4)), "all are equal"


def test_without_rescoring_a_score_is_the_maximum_of_its_map(musc):
    method = musc(rscin=False)
    found = method.score_set(features_of(method), some_samples(COUNT))
    assert torch.equal(found.score, found.map.flatten(1).amax(1))


# --- subsets ----------------------------------------------------------------------------------------------------------


def test_subsets_follow_from_seed_and_ids_alone(musc):
    samples = some_samples(11)
    parts = musc(subsets=2).parts(samples)
    assert sorted(itertools.chain(*parts)) == list(range(11))
    assert sorted(map(len, parts)) == [5, 6]
    order = [4, 9, 0, 10, 2, 7, 1, 3, 8, 6, 5]
    shuffled = musc(subsets=2).parts([samples[place] for place in order])
    assert {frozenset(order[place] for place in part) for part in shuffled} == {frozenset(part) for part in parts}
    assert musc(seed=1, subsets=2).parts(samples) != parts
    assert [musc(subsets=n).stochastic_at_test for n in (1, 2)] == [False, True]


def test_a_subset_is_scored_by_itself(musc):
    method, alone = musc(subsets=2), musc()
    features, samples = features_of(method, 11), some_samples(11)
    found = method.grid_scores(features, samples)
    for part in method.parts(samples):
        expected = alone.grid_scores(features.select(part), [samples[place] for place in part])
        torch.testing.assert_close(found[part], expected, rtol=0, atol=1e-6)


# --- what it refuses, and what it says --------------------------------------------------------------------------------


def test_five_images_are_the_fewest(musc):
    assert [partners(n, 0.3) for n in (4, 5, 8, 11)] == [0, 1, 2, 3]
    assert [fewest(share) for share in (0.3, 0.5, 1.0)] == [Musc.fewest_images, 3, 2]
    assert musc(subsets=3).fewest_images == 15
    method = musc()
    found = predict_set(method, features_of(method, 5), some_samples(5))
    assert found.score.isfinite().all()
    line = (
        "MuSc scores the images of a category by one another and needs at least 5; made_up/nut has 4 images; leave it "
        "out, or take another method"
    )
    with pytest.raises(UsageError) as error:
        predict_set(method, features_of(method, 4), some_samples(4))
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"share": 0.0}, "share=0.0; expected more than 0"),
        ({"share": 1.5}, "share=1.5; expected at most 1"),
        ({"degrees": [2]}, r"degrees=\[2\]; expected odd numbers of patches"),
        ({"degrees": []}, r"degrees=\[\]; expected at least one number"),
        ({"windows": [0, 1]}, r"windows=\[0, 1\]; expected numbers of images from 1 on"),
        ({"subsets": 0}, "subsets=0; expected 1 or more"),
    ],
)
def test_numbers_that_no_run_can_have(musc, settings, said):
    with pytest.raises(UsageError, match=f"^MuSc: {said}"):
        musc(**settings)


def test_it_remarks_on_sets_without_normal_images(musc):
    from zsad_bench import registry

    method = musc()
    for name in registry.names("datasets"):
        expected = getattr(registry.load("datasets", name), "expected", None)
        without = expected is not None and expected.normal == 0 and expected.anomalous > 0
        assert (name in WITHOUT_NORMAL) == without, name
    found = [method.remark(Category(name, "x", "x", "organ", "medical")) for name in ("isic", "mvtec")]
    assert found == [REMARK, ""]


def test_a_tower_without_text_is_read_as_dinov2_is():
    pytest.importorskip("timm")
    from tests.backbones.miniatures import dinov2

    backbone, registers = dinov2()
    method = build("musc", backbone, {"image_size": 84}, 0).eval()
    c = method.config
    assert (c.final_norm, c.unit_class, c.pos_interp, c.activation) == (True, False, "official", "own")
    images, samples = random_batch(84, 5).images, some_samples(5)
    with torch.no_grad():
        features = method.encode(images, samples)
        (last,) = [tap for tap in method._taps() if tap.block == backbone.vision.n_blocks]
        classes, patches = features.pooled("cls"), features.patches(last)
        rows = backbone.model.forward_features(images)  # timm's: all rows behind the final norm
        torch.testing.assert_close(patches, rows[:, 1:], rtol=0, atol=1e-5)
        found = predict_set(method, features, samples)
        expected = rescored(found.map.flatten(1).amax(1), rows[:, 0], c.windows)
        torch.testing.assert_close(found.score, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(classes, rows[:, 0], rtol=0, atol=1e-5)
        with_registers = build("musc", registers, {"image_size": 84}, 0).eval()
        assert predict_set(with_registers, with_registers.encode(images, samples), samples).map.isfinite().all()
