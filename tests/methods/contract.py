"""What every method keeps to, whatever it is: tests that each `test_contract*.py` runs over the methods it names."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

from tests.methods.conftest import learn, some
from tests.methods.fake_device import DEVICE, ReadBack, fake_device
from zsad_bench import registry
from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.towers import TextTower
from zsad_bench.backbones.weights import hash_weights
from zsad_bench.errors import TrainingError, UsageError
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.planning.configure import configure
from zsad_bench.runner import checkpoint
from zsad_bench.types import Prediction

Test = Callable[..., Any]


def of(kind: Callable[[type[ZeroShotMethod]], bool]) -> Callable[[Test], Test]:
    """Runs a test over the methods of a kind; conftest.py puts in names from the collecting module's CLASSES."""

    def marked(test: Test) -> Test:
        test.kind = kind
        return test

    return marked


every = of(lambda cls: True)
trained = of(lambda cls: cls.trains())
descending = of(lambda cls: cls.losses is not ZeroShotMethod.losses)  # by gradients
untrained = of(lambda cls: not cls.trains())
transductive = of(lambda cls: cls.transductive)
image_by_image = of(lambda cls: not cls.transductive)
reading = of(lambda cls: "text" in cls.needs)
contenders = of(lambda cls: not cls.is_sanity_check)


def class_of(name: str) -> type[ZeroShotMethod]:
    return registry.load("methods", name)


@cache
def described(names: tuple[str, ...]) -> list[registry.Entry]:
    """The methods as `ls` reads them from their files, once for all tests. names: those that are installed now."""
    entries = registry.describe("methods")
    assert [entry.name for entry in entries] == list(names)
    return entries


def assert_same(found: Prediction, expected: Prediction, what: str, tolerance: float = 0.0) -> None:
    for part in ("score", "map"):
        one, other = getattr(found, part), getattr(expected, part)
        assert (one is None) == (other is None), f"{what}: one of them has no {part}"
        if one is not None:
            off = float((one - other).abs().max())
            assert off <= tolerance, f"{what}: {part} off by {off:.1e}, allowed {tolerance:.0e}"


# What a method may read back, with the reason. In these tests it does not.
READS_BACK: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None] | None]] = {
    "adaclip": (
        "k-means ends when no point changes its cluster, which is looked at every tenth iteration; running all hundred "
        "would cost five times as much",
        lambda patch: patch.setattr("zsad_bench.methods.adaclip.LOOK_EVERY", 1000),
    ),
    "anovl": (
        "nothing; but it descends on each image, and autograd runs backward on a GPU alone that is there",
        lambda patch: patch.setattr(torch.Tensor, "backward", lambda loss: None),
    ),
    "toy_adapts": ("it asserts that its parameters are as they were before", None),
}


def without_reads(name: str, method: ZeroShotMethod, monkeypatch: pytest.MonkeyPatch) -> ZeroShotMethod:
    """A copy of the method with a backbone of its own, which can be brought to the fake device."""
    _, stop = READS_BACK.get(name, ("", None))
    if stop is not None:
        stop(monkeypatch)
    return copy.deepcopy(method)


class OtherIds:
    """A text tower whose tokens have other numbers: the smallest are the largest, and padding is not zero."""

    def __init__(self, tower: TextTower) -> None:
        self.tower = tower

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tower, name)

    def tokenize(self, texts: Sequence[str]) -> torch.Tensor:
        return 10**6 - self.tower.tokenize(texts)

    def end_of_text(self, ids: torch.Tensor) -> torch.Tensor:
        return self.tower.end_of_text(10**6 - ids)

    def embed_tokens(self, ids: torch.Tensor) -> torch.Tensor:
        return self.tower.embed_tokens(10**6 - ids)


class WatchedText:
    """A text tower that notes what its blocks are given. sharing: False hides that it can run rows of a tree.

    rows: how many, by block, call by call. entering: of the last block, the rows of each tree.
    """

    def __init__(self, tower: TextTower, sharing: bool = True) -> None:
        self.tower, self.sharing = tower, sharing
        self.forget()

    def forget(self) -> None:
        self.rows: dict[int, list[int]] = {}
        self.entering: list[torch.Tensor] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.tower, name)
        if name == "tree_block" and not self.sharing:
            raise AttributeError(name)
        if name not in ("block", "tree_block"):
            return found

        def noted(number: int, rows: torch.Tensor, *rest: Any) -> torch.Tensor:
            self.rows.setdefault(number, []).append(rows.shape[:-1].numel())
            if name == "tree_block" and number == self.tower.n_blocks:
                self.entering.append(rows.detach())
            return found(number, rows, *rest)

        return noted

    def total(self) -> int:
        return sum(sum(calls) for calls in self.rows.values())


def watched(method: ZeroShotMethod, sharing: bool = True) -> tuple[Backbone, WatchedText]:
    """A method's backbone with a watched text tower in the place of its own, and that tower; all else is shared."""
    backbone = copy.copy(method.backbone)
    tower = WatchedText(backbone.text_tower, sharing)
    backbone.text = tower
    return backbone, tower


def differ(one: Prediction, other: Prediction) -> bool:
    same_map = one.map is None or torch.equal(one.map, other.map)
    return not (torch.equal(one.score, other.score) and same_map)


# --- what it says -----------------------------------------------------------------------------------------------------


@every
def test_it_is_presented(name):
    entries = described(tuple(registry.names("methods")))
    entry = next(entry for entry in entries if entry.name == name)
    assert entry.title == class_of(name).title, f"{name}: `ls` prints '{entry.title}', the class says otherwise"
    assert entry.title.strip(), f"{name}: the title is empty"
    assert entry.summary.endswith("."), (
        f"{name}: the first line of the file's docstring is no sentence: {entry.summary!r}"
    )
    titles = [other.title for other in entries]
    assert titles.count(entry.title) == 1, f"{name}: another method is titled '{entry.title}' too"
    assert class_of(name).registry_name() == name, f"{name}: rows would call it {class_of(name).registry_name()}"


@every
def test_labels_and_masks_have_no_way_in(name):
    for hook, wanted in {"score": ["self", "features", "samples"], "encode": ["self", "images", "samples"]}.items():
        found = list(inspect.signature(getattr(class_of(name), hook)).parameters)
        assert found == wanted, f"{name}.{hook} takes {found}, the design gives it {wanted}"


@every
def test_stages(name, make):
    method = make(name)
    stages = method.stages()
    assert bool(stages) == class_of(name).trains(), (
        f"{name}: overrides `stages` and has none in its usual configuration"
    )
    assert method.trains(method.config) == method.trains(), f"{name}: says something else of its usual configuration"
    assert len({stage.name for stage in stages}) == len(stages), f"{name}: two stages share a name, and so a log"


@every
def test_configuration_is_plain_and_resolves_to_itself(name, make):
    method = make(name)
    stored = json.loads(json.dumps(method.resolved_config()))
    again = class_of(name).resolve(configure(name, stored), method.backbone)
    assert again == method.config, f"{name}: a configuration read back from a checkpoint resolves to something else"


@every
def test_encoder_specs_merge_and_are_keys(name, make):
    for ready in (nn.Module.eval, nn.Module.train):  # a run asks before any stage has begun, ready to train
        spec = ready(make(name)).encoder_spec
        assert hash(spec) == hash(ready(make(name)).encoder_spec), f"{name}: two equal methods ask differently"
        assert spec.merge(spec) == spec


@every
def test_equal_keys_mean_equal_extra_features(name, make, batch):
    one, other = make(name, seed=0).eval(), make(name, seed=1).eval()
    if one.extra_key() is None or one.extra_key() != other.extra_key():
        return  # nothing is shared
    extra, again = (method.extra_features(batch.images, batch.samples) for method in (one, other))
    assert extra.keys() == again.keys()
    assert all(torch.equal(extra[key], again[key]) for key in extra), f"{name}: seeds that share have other values"


# --- what it predicts -------------------------------------------------------------------------------------------------


@every
def test_shapes_and_types(name, make, predict, batch):
    found = predict(make(name), batch)
    assert found.score.shape == (len(batch),), f"{name}: one score per image, found {tuple(found.score.shape)}"
    assert found.score.dtype == torch.float32, f"{name}: scores are {found.score.dtype}"
    assert found.score.isfinite().all(), f"{name}: a score is not finite"
    if found.map is not None:
        assert found.map.shape == batch.masks.shape, f"{name}: maps are {tuple(found.map.shape)}, masks decide the size"
        assert found.map.dtype == torch.float32, f"{name}: maps are {found.map.dtype}"
        assert found.map.isfinite().all(), f"{name}: a map is not finite"


@image_by_image
def test_a_batch_is_its_images(name, make, predict, batch):
    method = make(name)
    together = predict(method, batch)
    for i in range(len(batch)):
        alone = predict(method, some(batch, [i]))
        there = Prediction(together.score[[i]], None if together.map is None else together.map[[i]])
        assert_same(alone, there, f"{name}: image {i} alone and in its batch", 1e-5)


@transductive
def test_how_a_category_comes_in_batches_changes_nothing(name, make, predict, batch):
    method = make(name)
    together = predict(method, batch)
    in_three = predict(method, batch, sizes=[2, 1, len(batch) - 3])
    assert_same(in_three, together, f"{name}: in three batches and in one", 1e-5)
    part = list(range(0, len(batch), 2))[:-1]  # a category without its last image
    others = predict(method, some(batch, part))
    assert differ(others, Prediction(together.score[part], together.map[part])), f"{name}: needs no whole category"


@every
def test_predictions_follow_their_images(name, make, predict, batch):
    method, order = make(name), [3, 0, 4, 1, 2, *range(5, len(batch))]
    straight, permuted = predict(method, batch), predict(method, some(batch, order))
    expected = Prediction(straight.score[order], None if straight.map is None else straight.map[order])
    assert_same(permuted, expected, f"{name}: permuted images", 1e-5)


@contenders
def test_pixels_decide_and_names_of_files_do_not(name, make, predict, batch, monkeypatch):
    method = make(name)
    straight = predict(method, batch)
    renamed = replace(batch, samples=[replace(s, id=f"other/{i}") for i, s in enumerate(batch.samples)])
    under_other_ids = predict(method, renamed)
    if method.stochastic_at_test:  # what is drawn for an image is drawn from the seed and its id
        assert differ(under_other_ids, straight), f"{name}: says that it draws for each image, and draws nothing"
        one_for_all = partial(method.generator_for, batch.samples[0])
        monkeypatch.setattr(method, "generator_for", lambda sample, purpose="map": one_for_all(purpose))
        straight = predict(method, batch)
    else:
        assert_same(under_other_ids, straight, f"{name}: the same images under other ids")
    # 0, 2 and 4 are of one category: only their pixels change places
    order = [2, 1, 0, *range(3, len(batch))]
    swapped = predict(method, replace(batch, images=batch.images[order]))
    expected = Prediction(straight.score[order], straight.map[order])
    assert_same(swapped, expected, f"{name}: images 0 and 2 swapped", 1e-5)
    assert straight.score[[0, 2, 4]].unique().numel() == 3, f"{name}: three random images score the same"


@every
def test_the_same_each_time(name, make, predict, batch):
    torch.manual_seed(1)
    method = make(name)
    first = predict(method, batch)
    assert_same(predict(method, batch), first, f"{name}: asked twice")
    torch.manual_seed(2)
    assert_same(predict(make(name), batch), first, f"{name}: built again under another global seed")


@every
def test_frozen_as_training_leaves_it_it_says_the_same(name, make, predict, batch):
    method = make(name)
    expected = predict(method, batch)
    method.freeze()
    assert_same(predict(method, batch), expected, f"{name}: frozen")


@every
def test_the_seed_matters_where_it_is_said_to(name, make, predict, batch):
    cls = class_of(name)
    depends = (cls.trains() and cls.stochastic_in_training) or cls.stochastic_at_test
    changed = differ(predict(make(name, seed=3), batch), predict(make(name, seed=4), batch))
    assert changed == depends, f"{name}: the seed {'changes' if changed else 'does not change'} predictions"


@reading
def test_token_ids_are_the_towers_own(name, make, predict, batch):
    """Under other numbers for the same words nothing changes: only the tower knows which of them ends a text."""
    method = make(name)
    backbone = copy.copy(method.backbone)  # beside the tower all is shared, and nothing is changed
    backbone.text = OtherIds(backbone.text_tower)
    renumbered = make(name, backbone=backbone)
    expected, found = predict(method, batch), predict(renumbered, batch)
    assert_same(found, expected, f"{name}: other numbers for the same tokens", 1e-5)


@reading
def test_what_follows_no_image_is_encoded_once(name, make, predict, batch):
    """A frozen method is asked three times: what a category or a checkpoint decides is kept from the first on."""
    backbone, tower = watched(make(name))
    method = make(name, backbone=backbone)
    method.freeze()
    tower.forget()
    counts = []
    for _ in range(3):
        predict(method, batch)
        counts.append(tower.total())
        tower.forget()
    assert counts[1] == counts[2], f"{name}: rows of text blocks of three passes over the same images: {counts}"
    new = method.texts_follow_images
    if method.adapts_at_test:  # texts that it adapts are each image's, too
        with method.adaptation():
            new = method.text_for(batch.samples[:1]).requires_grad
    assert (counts[1] > 0) == new, f"{name}: {counts[1]} rows where nothing is new"


@reading
def test_texts_of_an_image_run_what_they_begin_with_once(name, make, predict, batch):
    """What enters the last block tells rows apart that came by different words: no two are the same but a start."""
    backbone, tower = watched(make(name))
    method = make(name, backbone=backbone)
    if not method.texts_follow_images:
        return  # the test above is for these
    one = some(batch, [1])
    predict(method, one)
    tower.forget()
    predict(method, one)
    assert tower.entering, f"{name}: sentences are run one by one; give encode_tree what they share"
    for rows in tower.entering:
        near = (torch.cdist(rows, rows) < 1e-5).sum() - len(rows)
        assert near <= 2, f"{name}: {near // 2} pairs of {len(rows)} rows are the same row"  # the starts of two trees


@reading
def test_more_images_are_no_more_calls_of_the_text_tower(name, make, batch):
    for number, stage in enumerate(make(name).stages()):
        calls = []
        for rows in ([0], [0, 2, 4]):  # of one category
            backbone, tower = watched(make(name))
            method = make(name, backbone=backbone, **chunks(name))
            tower.forget()
            learn(method, number, some(batch, rows))
            calls.append({block: len(of) for block, of in tower.rows.items()})
        assert calls[0] == calls[1], f"{name}, {stage.name}: calls of each text block with 1 and with 3 images: {calls}"


def chunks(name: str) -> dict[str, int]:
    """Settings under which all texts of a few images are one chunk: memory must not decide here."""
    fields = class_of(name).Config.__dataclass_fields__
    return {field: 10**6 for field in fields if field.endswith("_chunk") and fields[field].metadata.get("silent")}


@reading
def test_sharing_rows_of_texts_changes_no_number(name, make, predict, batch):
    """Predictions, losses and gradients beside a text tower that reads each sentence by itself."""
    found = []
    for sharing in (True, False):
        backbone, tower = watched(make(name), sharing)
        method = make(name, backbone=backbone)
        prediction, of_stages = predict(method, batch), []
        for number in range(len(method.stages())):
            for parameter in method.parameters():
                parameter.grad = None
            terms = learn(method, number, batch)
            of_stages.append((terms, {key: p.grad for key, p in method.named_parameters() if p.grad is not None}))
        assert sharing or not tower.entering
        found.append((prediction, of_stages))
    (one, stages), (other, plain_stages) = found
    assert_same(one, other, f"{name}: with shared rows and without", 1e-6)
    for (terms, gradients), (plain_terms, plain_gradients) in zip(stages, plain_stages, strict=True):
        assert terms.keys() == plain_terms.keys()
        assert gradients.keys() == plain_gradients.keys()
        for key, value in terms.items():
            torch.testing.assert_close(value, plain_terms[key], rtol=1e-5, atol=1e-6, msg=f"{name}: loss {key}")
        for key, value in gradients.items():
            expected = plain_gradients[key]
            off, largest = (value - expected).abs().max(), expected.abs().max()
            assert off <= 1e-4 * largest, f"{name}: gradient of {key} off by {off:.1e}, the largest is {largest:.1e}"


# --- what it learns ---------------------------------------------------------------------------------------------------


@untrained
def test_training_free_means_nothing_to_train(name, make):
    own = list(make(name).own_parameters())
    if not class_of(name).adapts_at_test:
        assert not own, f"{name} has no stage that could train {own}"


@every
def test_only_its_own_wants_gradients(name, make):
    method = make(name)
    awake = {key for key, parameter in method.named_parameters() if parameter.requires_grad}
    assert awake <= set(method.own_parameters()), f"{name}: {sorted(awake)[:3]} want gradients"


@every
def test_scoring_leaves_no_trace(name, make, predict, batch):
    method = make(name)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    learns = {key: parameter.requires_grad for key, parameter in method.named_parameters()}
    predict(method, batch)
    assert learns == {key: parameter.requires_grad for key, parameter in method.named_parameters()}
    assert not [key for key, p in method.named_parameters() if p.grad is not None], f"{name}: gradients are left"
    moved = [key for key, value in method.state_dict().items() if not torch.equal(value, before[key])]
    assert not moved, f"{name}: {moved} changed while it scored"


@trained
def test_each_stage_trains_its_trainables_and_nothing_else(name, make, batch):
    method = make(name)
    backbone = method.backbone
    for number, stage in enumerate(method.stages()):
        before = {key: parameter.detach().clone() for key, parameter in method.named_parameters()}
        for parameter in method.parameters():
            parameter.grad = None
        terms = learn(method, number, batch)
        for term, value in terms.items():
            assert value.ndim == 0, f"{name}, {stage.name}: loss term {term} is no scalar"
            assert value.isfinite(), f"{name}, {stage.name}: loss term {term} is {value}"
        parameters = dict(method.named_parameters())
        reached = {key for key, p in parameters.items() if p.grad is not None and p.grad.any()}
        trainables = set(method.trainables(stage))
        assert stage.observes == (not trainables), f"{name}, {stage.name}: observes, or has something to train"
        assert reached == trainables, f"{name}, {stage.name}: gradients and trainables differ"
        assert all(parameters[key].grad.isfinite().all() for key in reached), f"{name}: a gradient is not finite"
        moved = {key for key, p in parameters.items() if not torch.equal(p, before[key])}
        assert moved == trainables, f"{name}, {stage.name}: one step moved {sorted(moved)[:5]}"
        assert hash_weights(backbone.model.state_dict()) == backbone.weights_hash, (
            f"{name}, {stage.name}: frozen weights moved"
        )
        for network, was in method.frozen_networks.items():
            now = hash_weights(method.get_submodule(network).state_dict())
            assert now == was, f"{name}, {stage.name}: the frozen network {network} moved"


@pytest.mark.slow
@every
def test_on_a_device_nothing_is_read_back_and_nothing_stays_on_the_host(name, make, batch, monkeypatch):
    """Encoding and scoring as at test, on a device that has no values to give (`fake_device.py`)."""
    method = without_reads(name, make(name), monkeypatch)
    batch = some(batch, list(range(0, len(batch), 2)))  # of one category
    said_to_read = name in READS_BACK and READS_BACK[name][1] is None
    with fake_device() as device:
        device.take(method)
        there = device.on_device(batch)
        with torch.no_grad():
            features = method.encode(there.images, there.samples)
        with pytest.raises(ReadBack) if said_to_read else nullcontext():
            if method.adapts_at_test:
                with method.adaptation():
                    prediction = method.score(features.select([0]), batch.samples[:1])
            else:
                with torch.no_grad():
                    score = method.score_set if method.transductive else method.score
                    prediction = score(features, batch.samples)
            for part in (prediction.score, prediction.map):
                assert part is None or part.device == DEVICE, f"{name}: a prediction on {part.device}"


@pytest.mark.slow
@descending
def test_on_a_device_a_step_of_training_reads_nothing_back(name, make, batch, monkeypatch):
    method = without_reads(name, make(name), monkeypatch)
    stages = [stage for stage in method.stages() if not stage.observes]
    method.begin_training(list(dict.fromkeys(sample.category for sample in batch.samples)))
    with fake_device() as device:
        device.take(method)
        for stage in stages:
            method.begin_stage(stage)
            method.train()
            there = method.augmented(device.on_device(batch))
            terms = method.losses(method.encode(there.images, there.samples), there)
            assert {value.device for value in terms.values()} == {DEVICE}, f"{name}, {stage.name}"


@descending
def test_a_loss_that_is_not_finite_stops_with_its_name_and_step(name, make, batch, monkeypatch):
    method = make(name)
    method.begin_stage(next(stage for stage in method.stages() if not stage.observes))
    monkeypatch.setattr(method, "losses", lambda *_: {"fine": torch.ones(()), "broken": torch.tensor(float("nan"))})
    with pytest.raises(TrainingError, match=r"not finite in step 0 of stage .* broken nan"):
        method.training_step(batch, 0)


@trained
def test_it_learns_from_what_it_says(name, make, batch):
    method, unmasked = make(name), replace(batch, masks=None)
    says = class_of(name).learns_from(method.config)
    assert says == class_of(name).learns_from(configure(name, {})), f"{name}: says so only once it is built"
    inverted = replace(batch, masks=~batch.masks)
    for number, stage in enumerate(method.stages()):
        torch.manual_seed(0)
        learned = make(name)
        terms = learn(learned, number, batch)
        torch.manual_seed(0)
        if (stage.learns_from or says) == "labels":
            again = make(name)
            assert learn(again, number, unmasked) == terms, f"{name}, {stage.name}: masks matter after all"
            for key, value in learned.own_state().items():
                assert torch.equal(again.own_state()[key], value), f"{name}, {stage.name}: masks matter to {key}"
            continue
        other = make(name)
        same = learn(other, number, inverted) == terms
        if stage.observes:  # it has no losses: what it stores has to change
            same = all(torch.equal(value, other.own_state()[key]) for key, value in learned.own_state().items())
        assert not same, f"{name}, {stage.name}: other masks change nothing; image labels would be enough"
    if says == "masks":
        with pytest.raises(UsageError, match=rf"{method.title} learns from masks"):
            method.training_step(unmasked, 0)


@descending
def test_a_step_is_seen_at_once(name, make, predict, batch):
    method = make(name)
    before = predict(method, batch)  # fills the cache of texts
    learn(method, 0, batch)
    assert differ(predict(method, batch), before), f"{name}: predictions still come from texts of before the step"


@trained
def test_one_image_is_a_batch(name, make, batch):
    method = make(name)
    for number, stage in enumerate(method.stages()):
        terms = learn(method, number, some(batch, [2]))
        assert all(value.isfinite() for value in terms.values()), f"{name}, {stage.name}: {terms} for a single image"


@trained
def test_a_checkpoint_brings_back_the_predictions(name, make, predict, batch, tmp_path):
    method = make(name)
    learn(method, 0, batch)
    expected = predict(method, batch)
    training = {"prior": "limited", "prior_hash": "abc", "auxiliary": ["demo_limited"], "seed": 3}
    checkpoint.save(tmp_path / "one.safetensors", method, training)
    loaded, header = checkpoint.load(tmp_path / "one.safetensors", method.backbone, name)
    assert_same(predict(loaded.eval(), batch), expected, f"{name}: loaded from its checkpoint")
    assert loaded.config == method.config
    assert header.training == training
    with safe_open(tmp_path / "one.safetensors", "pt") as file:
        foreign = [key for key in file.keys() if key.partition(".")[0] in {"backbone", *method.frozen_networks}]  # noqa: SIM118
    assert not foreign, f"{name}: weights that are not its own are in there: {foreign[:3]}"
