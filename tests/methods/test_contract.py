# pytest tests/methods/test_contract.py
"""What every method in `methods/` keeps to, whatever it is; a new file is tested without writing a test."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields, replace

import pytest
import torch

from zsad_bench import registry
from zsad_bench.backbones.weights import hash_weights
from zsad_bench.errors import TrainingError, UsageError
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.planning.configure import configure
from zsad_bench.runner import checkpoint
from zsad_bench.types import Batch, Prediction

NAMES = registry.names("methods")
CLASSES = {name: registry.load("methods", name) for name in NAMES}
# How the command line tells them apart before anything is built; test_stages_and_epochs holds it to account.
TRAINED = [name for name in NAMES if "epochs" in {field.name for field in fields(CLASSES[name].Config)}]
TRAINING_FREE = [name for name in NAMES if name not in TRAINED]

every = pytest.mark.parametrize("name", NAMES)
trained = pytest.mark.parametrize("name", TRAINED)


def some(batch: Batch, at: list[int]) -> Batch:
    """The images of a batch at these places, in this order."""
    return Batch(batch.images[at], batch.labels[at], batch.masks[at], [batch.samples[i] for i in at])


def assert_same(found: Prediction, expected: Prediction, what: str, tolerance: float = 0.0) -> None:
    for part in ("score", "map"):
        one, other = getattr(found, part), getattr(expected, part)
        assert (one is None) == (other is None), f"{what}: one of them has no {part}"
        if one is not None:
            off = float((one - other).abs().max())
            assert off <= tolerance, f"{what}: {part} off by {off:.1e}, allowed {tolerance:.0e}"


def differ(one: Prediction, other: Prediction) -> bool:
    same_map = one.map is None or torch.equal(one.map, other.map)
    return not (torch.equal(one.score, other.score) and same_map)


def learn(method: ZeroShotMethod, stage_number: int, batch: Batch) -> dict[str, torch.Tensor]:
    """The loss terms of one optimiser step in a stage, taken as Lightning takes it."""
    method.enter(method.stages()[stage_number])
    method.train()
    optimizer = method.configure_optimizers()
    terms = method.losses(method.encode(batch.images, batch.samples), batch)
    torch.stack(list(terms.values())).sum().backward()
    optimizer.step()
    method.eval()
    return terms


# --- what it says -----------------------------------------------------------------------------------------------------


@every
def test_it_is_presented(name):
    entry = next(entry for entry in registry.describe("methods") if entry.name == name)
    assert entry.title == CLASSES[name].title, f"{name}: `ls` prints '{entry.title}', the class says otherwise"
    assert entry.title.strip(), f"{name}: the title is empty"
    assert entry.summary.endswith("."), (
        f"{name}: the first line of the file's docstring is no sentence: {entry.summary!r}"
    )
    titles = [other.title for other in registry.describe("methods")]
    assert titles.count(entry.title) == 1, f"{name}: another method is titled '{entry.title}' too"
    assert CLASSES[name].registry_name() == name, f"{name}: rows would call it {CLASSES[name].registry_name()}"


@every
def test_labels_and_masks_have_no_way_in(name):
    for hook, wanted in {"score": ["self", "features", "samples"], "encode": ["self", "images", "samples"]}.items():
        found = list(inspect.signature(getattr(CLASSES[name], hook)).parameters)
        assert found == wanted, f"{name}.{hook} takes {found}, the design gives it {wanted}"


@every
def test_stages_and_epochs(name, make):
    stages = make(name).stages()
    assert bool(stages) == (name in TRAINED), (
        f"{name}: has {len(stages)} stages; exactly the methods that train have `epochs` in their configuration"
    )
    assert len({stage.name for stage in stages}) == len(stages), f"{name}: two stages share a name, and so a log"


@every
def test_configuration_is_plain_and_resolves_to_itself(name, mini, make):
    method = make(name)
    stored = json.loads(json.dumps(method.resolved_config()))
    again = CLASSES[name].resolve(configure(name, stored), mini)
    assert again == method.config, f"{name}: a configuration read back from a checkpoint resolves to something else"


@every
def test_encoder_specs_merge_and_are_keys(name, make):
    spec = make(name).encoder_spec
    assert hash(spec) == hash(make(name).encoder_spec), f"{name}: two equal methods ask differently"
    assert spec.merge(spec) == spec


# --- what it predicts -------------------------------------------------------------------------------------------------


@every
def test_shapes_and_types(name, make, predict, batch):
    found = predict(make(name), batch)
    assert found.score.shape == (5,), f"{name}: one score an image, found {tuple(found.score.shape)}"
    assert found.score.dtype == torch.float32, f"{name}: scores are {found.score.dtype}"
    assert found.score.isfinite().all(), f"{name}: a score is not finite"
    if found.map is not None:
        assert found.map.shape == batch.masks.shape, f"{name}: maps are {tuple(found.map.shape)}, masks decide the size"
        assert found.map.dtype == torch.float32, f"{name}: maps are {found.map.dtype}"
        assert found.map.isfinite().all(), f"{name}: a map is not finite"


@every
def test_a_batch_is_its_images(name, make, predict, batch):
    method = make(name)
    together = predict(method, batch)
    for i in range(len(batch)):
        alone = predict(method, some(batch, [i]))
        there = Prediction(together.score[[i]], None if together.map is None else together.map[[i]])
        assert_same(alone, there, f"{name}: image {i} alone and in its batch", 1e-5)


@every
def test_predictions_follow_their_images(name, make, predict, batch):
    method, order = make(name), [3, 0, 4, 1, 2]
    straight, permuted = predict(method, batch), predict(method, some(batch, order))
    expected = Prediction(straight.score[order], None if straight.map is None else straight.map[order])
    assert_same(permuted, expected, f"{name}: permuted images", 1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if not CLASSES[name].sanity])
def test_pixels_decide_and_names_of_files_do_not(name, make, predict, batch):
    method = make(name)
    straight = predict(method, batch)
    renamed = replace(batch, samples=[replace(s, id=f"other/{i}") for i, s in enumerate(batch.samples)])
    assert_same(predict(method, renamed), straight, f"{name}: the same images under other ids")
    # 0, 2 and 4 are of one category: only their pixels change places
    swapped = predict(method, replace(batch, images=batch.images[[2, 1, 0, 3, 4]]))
    expected = Prediction(straight.score[[2, 1, 0, 3, 4]], straight.map[[2, 1, 0, 3, 4]])
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
def test_the_seed_matters_where_it_is_said_to(name, make, predict, batch):
    depends = name in TRAINED or CLASSES[name].draws_at_test
    changed = differ(predict(make(name, seed=3), batch), predict(make(name, seed=4), batch))
    assert changed == depends, f"{name}: the seed {'changes' if changed else 'does not change'} predictions"


# --- what it learns ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRAINING_FREE)
def test_training_free_means_nothing_to_train(name, make):
    method = make(name)
    own = [key for key, _ in method.named_parameters() if not key.startswith("backbone.")]
    assert not own, f"{name} has no stage that could train {own}"
    awake = [key for key, parameter in method.named_parameters() if parameter.requires_grad]
    assert not awake, f"{name}: {awake[:3]} want gradients"


@trained
def test_each_stage_trains_its_trainables_and_nothing_else(name, make, batch, mini):
    method = make(name)
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
        assert reached == set(stage.trainables), f"{name}, {stage.name}: gradients and trainables differ"
        assert all(parameters[key].grad.isfinite().all() for key in reached), f"{name}: a gradient is not finite"
        moved = {key for key, p in parameters.items() if not torch.equal(p, before[key])}
        assert moved == set(stage.trainables), f"{name}, {stage.name}: one step moved {sorted(moved)[:5]}"
        assert hash_weights(mini.model.state_dict()) == mini.weights_hash, f"{name}, {stage.name}: frozen weights moved"


@trained
def test_a_loss_that_is_not_finite_stops_with_its_name_and_step(name, make, batch, monkeypatch):
    method = make(name)
    method.enter(method.stages()[0])
    monkeypatch.setattr(method, "losses", lambda *_: {"fine": torch.ones(()), "broken": torch.tensor(float("nan"))})
    with pytest.raises(TrainingError, match=r"not finite in step 0 of stage .* broken nan"):
        method.training_step(batch, 0)


@trained
def test_it_learns_from_what_it_says(name, make, batch):
    method, unmasked = make(name), replace(batch, masks=None)
    says = CLASSES[name].learns_from(method.config)
    assert says == CLASSES[name].learns_from(configure(name, {})), f"{name}: says so only once it is built"
    inverted = replace(batch, masks=~batch.masks)
    for number, stage in enumerate(method.stages()):
        torch.manual_seed(0)
        terms = learn(make(name), number, batch)
        torch.manual_seed(0)
        if says == "labels":
            assert learn(make(name), number, unmasked) == terms, f"{name}, {stage.name}: masks matter after all"
            continue
        changed = learn(make(name), number, inverted)
        assert changed != terms, f"{name}, {stage.name}: other masks change no loss; image labels would be enough"
    if says == "masks":
        with pytest.raises(UsageError, match=rf"{method.title} learns from masks"):
            method.training_step(unmasked, 0)


@trained
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
def test_a_checkpoint_brings_back_the_predictions(name, make, predict, batch, mini, tmp_path):
    method = make(name)
    learn(method, 0, batch)
    expected = predict(method, batch)
    training = {"prior": "limited", "prior_hash": "abc", "auxiliary": ["demo_limited"], "seed": 3}
    checkpoint.save(tmp_path / "one.safetensors", method, training)
    loaded, header = checkpoint.load(tmp_path / "one.safetensors", mini, name)
    assert_same(predict(loaded.eval(), batch), expected, f"{name}: loaded from its checkpoint")
    assert loaded.config == method.config
    assert header.training == training
    assert not [key for key in method.learned() if key.startswith("backbone.")], f"{name}: the backbone is in there"
