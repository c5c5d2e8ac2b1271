# pytest tests/methods/test_base.py
"""What the base does for every method: stages, kept texts, what is its own, and adaptation that leaves no trace."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.methods.base import MethodConfig, Stage, ZeroShotMethod, filled, silent
from zsad_bench.types import Category, SampleInfo

CATEGORIES = [Category("made_up", name, name, "object", "industrial") for name in ("nut", "carpet", "brain")]


@dataclass(frozen=True)
class PlainConfig(MethodConfig):
    chunk: int = silent(8)
    seed: int = 0


class Plain(ZeroShotMethod[PlainConfig]):
    """Texts are a learned number and a module of two layers; `encoded` counts who was encoded."""

    title = "Plain"
    Config = PlainConfig

    def __init__(self, backbone, config=None) -> None:
        super().__init__(backbone, config)
        self.number = nn.Parameter(torch.ones(()))
        self.layers = nn.ModuleDict({"down": nn.Linear(2, 3), "up": nn.Linear(3, 2)})
        self.layers_more = nn.Parameter(torch.zeros(2))
        self.register_buffer("memory", torch.empty(0, 4))
        self.register_buffer("count", torch.zeros(2))
        self.encoded: Counter[str] = Counter()

    def text_pair(self, categories) -> Tensor:
        self.encoded.update(category.name for category in categories)
        return self.number * torch.arange(1.0, 1 + len(categories)).view(-1, 1, 1).expand(-1, 2, 5)


@pytest.fixture
def plain(mini) -> Plain:
    return Plain(copy.deepcopy(mini)).eval()


def sgd(parameters) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def stage(*trainables: str, **options) -> Stage:
    return Stage("one", 1, 2, trainables or None, sgd, **options)


# --- texts ------------------------------------------------------------------------------------------------------------


def test_the_stage_is_the_one_that_began_last_or_an_error_that_names_the_call(plain):
    with pytest.raises(UsageError, match=r"^.+ is in no stage of training; call begin_stage\(stage\) first$"):
        _ = plain.stage
    for part in ("number", "layers"):
        plain.begin_stage(now := stage(part))
        assert plain.stage is now
    plain.on_train_end()
    assert plain.stage is now


def test_texts_that_learn_are_encoded_at_each_step(plain):
    plain.begin_stage(stage("number"))
    plain.train()
    for _ in range(3):
        assert plain.text_features(CATEGORIES).requires_grad
    assert set(plain.encoded.values()) == {3}


def test_texts_that_are_frozen_are_encoded_once_though_gradients_are_on(plain):
    plain.begin_stage(stage("layers"))
    plain.train()
    first = plain.text_features(CATEGORIES[:2])
    assert torch.is_grad_enabled()
    assert torch.equal(plain.text_features(CATEGORIES[1::-1]), first[[1, 0]])
    plain.text_features(CATEGORIES)
    assert plain.encoded == {"nut": 1, "carpet": 1, "brain": 1}


@pytest.mark.parametrize("ends", ["begin_stage", "train", "eval", "on_train_end", "load", "move"])
def test_kept_texts_are_dropped_when_parameters_may_have_changed(plain, ends):
    plain.begin_stage(stage("layers"))
    plain.text_features(CATEGORIES)
    with torch.no_grad():
        plain.number.fill_(2)
    {
        "begin_stage": lambda: plain.begin_stage(stage("layers")),
        "train": plain.train,
        "eval": plain.eval,
        "on_train_end": plain.on_train_end,
        "load": lambda: plain.load_own_state(plain.own_state()),
        "move": plain.double,
    }[ends]()
    assert plain.text_features(CATEGORIES)[0, 0, 0] == 2, "texts of before"


def test_texts_stay_where_nothing_moves(plain):
    plain.requires_grad_(False)
    plain.text_features(CATEGORIES)
    plain.to("cpu")
    plain.text_features(CATEGORIES)
    assert set(plain.encoded.values()) == {1}


def test_without_gradients_nothing_is_kept_that_may_still_move(plain):
    plain.begin_stage(stage("number"))
    plain.train()
    with torch.no_grad():
        plain.text_features(CATEGORIES)
        plain.number.fill_(2)
        assert plain.text_features(CATEGORIES)[0, 0, 0] == 2, "kept in the middle of a training"
    plain.eval()
    with torch.no_grad():
        plain.text_features(CATEGORIES)
        plain.encoded.clear()
        plain.text_features(CATEGORIES)
    assert not plain.encoded, "once trained, texts are encoded once"


def test_texts_of_inference_mode_serve_no_gradient(plain):
    with torch.inference_mode():
        plain.text_features(CATEGORIES)
    weight = torch.ones(5, requires_grad=True)
    plain.number.requires_grad_(False)
    (plain.text_features(CATEGORIES) * weight).sum().backward()
    assert weight.grad is not None


def test_one_text_for_each_image(plain):
    samples = [SampleInfo(str(row), CATEGORIES[row]) for row in (2, 0, 2)]
    assert plain.text_for(samples)[:, 0, 0].tolist() == [1, 2, 1], "of unique categories, in the order they come"
    assert plain.encoded == {"brain": 1, "nut": 1}


# --- what is its own --------------------------------------------------------------------------------------------------


def test_backbone_and_frozen_networks_are_not_its_own(plain):
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    plain.add_frozen("judge", network)
    own = {"number", "layers.down.weight", "layers.down.bias", "layers.up.weight", "layers.up.bias", "layers_more"}
    assert set(plain.own_parameters()) == own
    assert set(plain.own_state()) == own | {"memory", "count"}
    checkpoint = {"state_dict": plain.state_dict()}
    plain.on_save_checkpoint(checkpoint)
    assert set(checkpoint["state_dict"]) == own | {"memory", "count"}, "what Lightning saves"
    assert set(plain.trainables(stage())) == own
    plain.begin_stage(stage())
    plain.train()
    assert not plain.judge.training, "a frozen network learns"
    assert not [p for p in plain.judge.parameters() if p.requires_grad]
    assert list(plain.frozen_networks) == ["judge"]
    with pytest.raises(ValueError, match="Plain has a 'judge' already"):
        plain.add_frozen("judge", network)


def test_the_hash_of_a_frozen_network_is_of_its_weights(mini):
    def hash_of(fill: float) -> str:
        method, network = Plain(mini), nn.Linear(2, 2)
        with torch.no_grad():
            network.weight.fill_(fill)
            network.bias.fill_(fill)
        method.add_frozen("judge", network)
        return method.frozen_networks["judge"]

    assert hash_of(1) == hash_of(1) != hash_of(2)


def test_a_memory_comes_back_with_its_rows(plain, mini):
    plain.memory = torch.rand(7, 4)
    other = Plain(mini)
    other.load_own_state(plain.own_state())
    assert torch.equal(other.memory, plain.memory)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"memory": torch.rand(7, 5)}, r"memory is \(7, 5\), its configuration asks for \(0, 4\)"),
        ({"count": torch.rand(3)}, r"count is \(3,\), its configuration asks for \(2,\)"),
        ({"more": torch.rand(3)}, "tensors missing or unknown: more"),
        ({"number": None}, "tensors missing or unknown: number"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(plain, change, said):
    state = {name: value for name, value in {**plain.own_state(), **change}.items() if value is not None}
    with pytest.raises(ValueError, match=said):
        plain.load_own_state(state)


def test_silent_fields_are_not_hashed(plain):
    assert plain.config.chunk == 8
    assert "chunk" not in plain.resolved_config()
    assert plain.resolved_config()["seed"] == 0


def test_an_open_image_size_is_the_multiple_of_the_patch_nearest_to_518(plain, mini):
    assert plain.config.image_size == 520, f"patches of {mini.vision.patch_size}"
    assert Plain(mini, PlainConfig(image_size=48)).config.image_size == 48

    class Forgetful(Plain):
        @classmethod
        def resolve(cls, config, backbone):
            return config

    with pytest.raises(TypeError, match=r"Forgetful.resolve leaves image_size open; call super\(\).resolve first"):
        Forgetful(mini)


def test_a_field_of_its_own_that_resolve_leaves_open_is_named(mini):
    @dataclass(frozen=True)
    class DeepConfig(PlainConfig):
        depth: int = filled()

    class Deep(Plain):
        Config = DeepConfig

    with pytest.raises(TypeError, match=r"^Deep.resolve leaves depth open; fill it in there$"):
        Deep(mini)
    assert Deep(mini, DeepConfig(depth=0)).config.depth == 0


def test_draws_are_of_the_seed_the_image_and_the_purpose(mini):
    def drawn(seed: int = 0, sample: str = "a", purpose: str = "map") -> float:
        method = Plain(mini, PlainConfig(seed=seed))
        return float(torch.rand((), generator=method.generator_for(SampleInfo(sample, CATEGORIES[0]), purpose)))

    assert drawn() == drawn()
    assert len({drawn(), drawn(seed=1), drawn(sample="b"), drawn(purpose="score")}) == 4


def test_what_a_backbone_lacks_is_said_before_anything_else(mini):
    class Needy(Plain):
        title = "Needy"
        needs = frozenset({"text", "depth"})

        def __init__(self, backbone, config=None) -> None:
            super().__init__(backbone, config)
            raise AssertionError("built all the same")

    with pytest.raises(
        BackboneError, match=r"^Needy needs depth, and backbone mini has none; take another --backbone$"
    ):
        Needy(mini)


def test_a_method_adapts_or_takes_whole_categories(mini):
    with pytest.raises(TypeError, match="Both adapts to single images and scores whole categories"):

        class Both(Plain):
            adapts_at_test = transductive = True


# --- stages -----------------------------------------------------------------------------------------------------------


def test_trainables_are_parameters_or_modules(plain):
    assert set(plain.trainables(stage("number", "layers.up"))) == {"number", "layers.up.weight", "layers.up.bias"}
    assert "layers_more" not in plain.trainables(stage("layers")), "another name that only begins alike"
    plain.begin_stage(stage("layers.up"))
    assert {n for n, p in plain.named_parameters() if p.requires_grad} == {"layers.up.weight", "layers.up.bias"}
    with pytest.raises(ValueError, match=r"trainables of stage 'one' name unknown parameters: \['layer'\]"):
        Titled(plain.backbone).begin_stage(stage("layer"))
    with pytest.raises(ValueError, match=r"groups of stage 'one' name unknown parameters: \['number'\]"):
        Titled(plain.backbone).begin_stage(stage("layers", groups={"number": {"lr": 1.0}}))


class Titled(Plain):
    title = "Titled"


def test_groups_have_their_own_options_and_the_longest_name_counts(plain):
    groups = {"layers": {"lr": 0.2}, "layers.up": {"lr": 0.3, "momentum": 0.5}}
    optimizer = plain.optimizer_for(stage("number", "layers", groups=groups))
    found = {(g["lr"], g["momentum"]): {id(p) for p in g["params"]} for g in optimizer.param_groups}
    of = {name: id(parameter) for name, parameter in plain.named_parameters()}
    assert found == {
        (0.1, 0): {of["number"]},
        (0.2, 0): {of["layers.down.weight"], of["layers.down.bias"]},
        (0.3, 0.5): {of["layers.up.weight"], of["layers.up.bias"]},
    }


@pytest.mark.parametrize(("options", "said"), [
    ({"observes": True, "optimizer": sgd}, "has an optimizer though it only observes"),
    ({}, "has no optimizer"),
])  # fmt: skip
def test_a_stage_descends_or_observes(options, said):
    with pytest.raises(ValueError, match=f"stage 'one' {said}"):
        Stage("one", 1, 2, **options)


# --- adaptation -------------------------------------------------------------------------------------------------------


def test_adaptation_leaves_no_trace(plain):
    plain.requires_grad_(False)
    plain.add_frozen("judge", nn.Linear(2, 2))
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    memory = plain.memory
    with torch.inference_mode(), plain.adaptation():
        assert all(parameter.requires_grad for parameter in plain.own_parameters().values())
        assert not any(parameter.requires_grad for parameter in plain.judge.parameters())
        (plain.number * 3).backward()
        with torch.no_grad():
            plain.number.add_(1)
            plain.count += 5
        plain.memory = torch.rand(3, 4)  # another tensor, of another size
        plain.register_buffer("late", torch.ones(1))
        plain.number = nn.Parameter(torch.zeros(2))
    assert plain.memory is memory
    assert plain.state_dict().keys() == before.keys()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not [name for name, p in plain.named_parameters() if p.requires_grad or p.grad is not None]


def test_texts_of_an_adapted_method_are_not_kept(plain):
    with plain.adaptation(), torch.no_grad():
        plain.number.fill_(2)
        assert plain.text_features(CATEGORIES)[0, 0, 0] == 2
    with torch.no_grad():
        assert plain.text_features(CATEGORIES)[0, 0, 0] == 1, "texts of the image before"
