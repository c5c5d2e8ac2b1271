"""What a method is: text on one side, a frozen visual tower on the other, and a score where they meet.

A method never sees labels at test time, computes no metric and knows no dataset's path. One file per method; the file
name is its registry name. `CONTRIBUTING.md` has a complete one, and the table of what can be asked for. What a Trainer
calls of a method is in `_trainer_part.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.encoder import Encoder
from zsad_bench.backbones.feature_store import FeatureStore
from zsad_bench.backbones.text_tree import TextTree
from zsad_bench.backbones.weights import hash_weights
from zsad_bench.errors import BackboneError
from zsad_bench.methods._config import default
from zsad_bench.methods._epoch_means import EpochMeans
from zsad_bench.methods._official import OfficialForm
from zsad_bench.methods._pending import Pending
from zsad_bench.methods._stage import Parameters as Parameters  # methods take both from here
from zsad_bench.methods._stage import Stage as Stage
from zsad_bench.methods._trainer_part import TrainerPart
from zsad_bench.types import (
    Activation,
    Batch,
    Category,
    EncoderSpec,
    Features,
    FeatureType,
    Pooled,
    PosInterp,
    Prediction,
    SampleInfo,
    Tap,
    sent,
)

USUAL_SIZE = 518  # pixels, of the published evaluations

# How a message names what a backbone may offer; a name that is not here stands for itself.
_OFFERS = {
    "text": "a text tower",
    "bidirectional_text": "a bidirectional text tower",
    "vv": "a V-V path",
    "logit_scale": "a learned logit scale",
    "cls": "a class token",
    "tokens": "a place for tokens beside its class token",
}


def silent(default: Any) -> Any:
    """A configuration field that changes no number (memory against time): it is in no key and in no checkpoint."""
    return field(default=default, metadata={"silent": True})


def what_counts(config: MethodConfig) -> dict[str, Any]:
    """A configuration as plain types, without the fields that change no number."""
    loud = {f.name for f in fields(config) if not f.metadata.get("silent")}
    return {name: value for name, value in asdict(config).items() if name in loud}


def filled() -> Any:
    """A configuration field that is None until `resolve` fills it in; its type is the one that it has from then on."""
    return field(default=None, metadata={"filled": True})


@dataclass(frozen=True)
class MethodConfig:
    """What every configuration has; a method's own is a frozen dataclass on top of it.

    image_size: None is the multiple of the patch nearest to 518. pos_interp, activation: as in `ForwardSpec`.
    """

    image_size: int = filled()
    pos_interp: PosInterp = "bilinear"
    activation: Activation = "own"


ConfigT = TypeVar("ConfigT", bound=MethodConfig)


class ZeroShotMethod(TrainerPart, Generic[ConfigT]):
    """Base of every method. Subclasses give `title`, `paper`, `Config`, and those of the hooks below that they need.

    Config fields that are `filled()` and left at None are filled in by `resolve`, from the backbone (block numbers,
    smoothing) or the fidelity preset; the resolved configuration is what rows and checkpoints carry.

    needs: what of a backbone it cannot do without (`Backbone.offers`), such as {"text", "vv"}.
    encoder_trains: gradients flow through `encode` while it trains.
    adapts_at_test: `score` gets one image at a time, with gradients on and its own parameters requiring them;
    parameters and buffers are put back after each image, so that no image knows of another.
    stochastic_in_training: what it learns depends on the seed (initial values, the order of images). Where it does not,
    one training per prior and draw serves all seeds.
    stochastic_at_test: scores depend on the seed even without training; draws come from `generator_for`. Where a
    configuration decides, `draws_at_test` says so, and the object has its answer.
    texts_follow_images: each image has texts of its own. Those of other methods are encoded once per category, or once
    per checkpoint. Where a configuration decides, `__init__` sets it on the object.
    transductive: it scores all images of a category at once, in `score_set`; such rows are marked. Where this or
    `adapts_at_test` depends on the configuration, `__init__` sets it on the object.
    fewest_images: of a category that a transductive method needs; a smaller one is refused before anything is encoded.
    host_features: of a transductive method: the features of a category wait for its last image on the host, dense ones
    in this type, and on disk where memory ends; `score_set` brings what it needs to the device. None: they wait where
    they are, all of them.
    is_sanity_check: a floor to compare with, no contender.
    unverified: why it was never compared with its official code, in a few words; tables and the page mark it. "" for
    nearly every method.
    official: the form of its released checkpoints, which makes them importable; None where it is not known.

    Raises:
        BackboneError: built on a backbone that lacks what it needs.
    """

    name: ClassVar[str]  # the registry name: that of the file, or of the entry point that names it
    title: ClassVar[str]
    paper: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    Config: type[ConfigT]
    needs: ClassVar[frozenset[str]] = frozenset()
    encoder_trains: ClassVar[bool] = False
    adapts_at_test: bool = False
    stochastic_in_training: ClassVar[bool] = True
    stochastic_at_test: bool = False
    texts_follow_images: bool = False
    transductive: bool = False
    fewest_images: int = 1
    host_features: FeatureType | None = None
    is_sanity_check: ClassVar[bool] = False
    unverified: ClassVar[str] = ""
    official: ClassVar[OfficialForm | None] = None

    config: ConfigT

    def __init__(self, backbone: Backbone, config: ConfigT | None = None) -> None:
        super().__init__()
        self._check_needs(backbone)
        self.backbone = backbone
        self.config = self.resolve(self.Config() if config is None else config, backbone)
        self._check_filled()
        self.stochastic_at_test = self.draws_at_test(self.config)
        self._stage = None
        self.pending, self.epoch_means = Pending(), EpochMeans()
        self._frozen: dict[str, str] = {}
        self._texts: dict[Category, Tensor] = {}
        self._trees: dict[Hashable, TextTree] = {}
        self._kept_where = self._where()
        self._encoder: Encoder | None = None
        self.store: FeatureStore | None = None  # where `encoder` keeps features and looks them up
        self._adapting = False
        self.is_trained = False  # whether it was fitted, or has taken over what another one learned

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in vars(cls):
            cls.name = cls.__module__.rpartition(".")[2]
        if cls.transductive and cls.adapts_at_test:
            raise TypeError(
                f"{cls.__name__} adapts to single images and scores whole categories; it can do one of them"
            )

    @classmethod
    def registry_name(cls) -> str:
        return cls.name

    # -- what a subclass says -----------------------------------------------------------------------------------
    @classmethod
    def resolve(cls, config: ConfigT, backbone: Backbone) -> ConfigT:
        """The configuration with every `filled()` field filled in. An override begins with `super().resolve`."""
        return replace(config, image_size=default(config.image_size, backbone.nearest_size(USUAL_SIZE)))

    def stages(self) -> list[Stage]:
        """Training, stage by stage; only methods that train override this."""
        return []

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        """The outputs that the visual tower has to give: dense taps, and pooled features by name."""
        return frozenset(), frozenset()

    def extra_features(self, images: Tensor, samples: Sequence[SampleInfo]) -> dict[str, Tensor]:
        """What else of the images is needed, such as a frozen second network's answer; rows are images.

        The result is in `features.extra`. The pass over the visual tower is still shared with other methods.
        """
        return {}

    def extra_key(self) -> Hashable | None:
        """All that `extra_features` depends on at test, beside the images: equal keys of one class share one answer.

        So seeds and variants that are tested together pay for it once. None: it is computed for this method alone.
        """
        return None

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        """(n,2,D) normalised normal and anomalous text features of n categories."""
        raise NotImplementedError(f"{type(self).__name__} has no text side")

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """The image scores and final maps of a batch. No image's depends on the others of the batch."""
        raise NotImplementedError(f"{type(self).__name__} has no score")

    def score_set(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Of a transductive method: the image scores and final maps of all images of one category.

        features: where they were encoded, or with `host_features` on the host; dense ones there may be of another type.
        """
        raise NotImplementedError(f"{type(self).__name__} has no score_set")

    def begin_training(self, categories: Sequence[Category]) -> None:
        """Called once before the first stage, with the categories of the auxiliary data."""

    def augmented(self, batch: Batch) -> Batch:
        """The batch to learn from: a method's own augmentation of training images and masks, alike."""
        return batch

    def remark(self, category: Category) -> str:
        """A remark on the method's numbers of this category, in a few words; "" for nearly every method.

        Rows hold it, and a run prints it once with its categories. It is called before anything is trained.

        Raises:
            UsageError: the category is one that it can neither learn from nor be tested on.
        """
        return ""

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms of a batch, on unsmoothed maps; their sum is minimised."""
        raise NotImplementedError(f"{type(self).__name__} has no losses")

    def observe(self, features: Features, batch: Batch) -> None:
        """Takes in a batch of a stage that observes; without gradients."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it observes")

    def end_stage(self) -> None:
        """Called when `self.stage` has seen its last batch."""

    @classmethod
    def learns_from(cls, config: ConfigT) -> Literal["masks", "labels"]:
        """What of the auxiliary data its losses ask for, beside the images; a configuration may change it.

        `labels`: those of whole images are enough, and masks change nothing.
        """
        return "masks"

    @classmethod
    def draws_at_test(cls, config: ConfigT) -> bool:
        """Whether scores depend on the seed even without training; a configuration, resolved or not, may change it."""
        return cls.stochastic_at_test

    @classmethod
    def reads_names(cls, config: ConfigT) -> bool:
        """Whether its test calls a category by the name on its dataset's card, which a wording replaces.

        config: resolved or not. By convention the field `class_names` decides; a method that reads names otherwise
        overrides this.
        """
        return getattr(config, "class_names", "") == "prompt_name"

    # -- images ---------------------------------------------------------------------------------------------------
    @property
    def encoder_spec(self) -> EncoderSpec:
        """The frozen request to the visual tower.

        Raises:
            BackboneError: a tap or pooled feature that the tower does not have.
            UsageError: an image size that is not a multiple of the patch, or another option that it cannot compute.
        """
        c = self.config
        forward = self.backbone.forward_spec(c.image_size, c.pos_interp, c.activation)
        spec = EncoderSpec(forward, *self.visual_requests())
        self.backbone.check_spec(spec)
        return spec

    @property
    def first_edit(self) -> int | None:
        """The first block whose rows `encode` edits: what lies below it is frozen, and can be stored.

        None: it is not known, and nothing of an edited pass is stored.
        """
        return None

    @property
    def encoder(self) -> Encoder:
        """The backbone under `encoder_spec`: one object as long as the spec and the store stay the same."""
        spec = self.encoder_spec
        if self._encoder is None or self._encoder.spec != spec or self._encoder.store is not self.store:
            self._encoder = Encoder(self.backbone, spec, self.encoder_trains, self.first_edit, self.store, timed=False)
        return self._encoder

    def encode(self, images: Tensor, samples: Sequence[SampleInfo]) -> Features:
        """Features of a batch under `encoder_spec`. Overridden by methods that change what is encoded."""
        return self.encoder(images, samples).with_extra(self.extra_features(images, samples))

    @property
    def not_exportable(self) -> str:
        """Why its scores cannot be one graph of an image (an ONNX file), in one line; "" where they can.

        In a graph the texts are constants, and each image is scored by itself, without draws and without gradients. An
        override begins with `super().not_exportable`.
        """
        reasons = (
            (self.transductive, "it scores all images of a category together"),
            (self.adapts_at_test, "it learns from each image before it scores it"),
            (self.stochastic_at_test, "it draws random numbers for each image"),
            (self.texts_follow_images, "it encodes texts of their own for each image"),
        )
        return next((why for applies, why in reasons if applies), "")

    # -- texts ----------------------------------------------------------------------------------------------------
    def text_features(self, categories: Sequence[Category]) -> Tensor:
        """(n,2,D) text features of n categories.

        What needs no gradient is encoded once per category and kept, while gradients are on as well: a frozen text side
        costs one encoding per stage. What is detached counts as frozen.
        """
        grad = torch.is_grad_enabled()
        # A tensor of inference mode can take no part in a backward pass.
        known = {c for c in categories if c in self._texts and not (grad and self._texts[c].is_inference())}
        missing = [c for c in dict.fromkeys(categories) if c not in known]
        fresh = dict(zip(missing, self.text_pair(missing), strict=True)) if missing else {}
        # Without gradients nothing tells whether a text depends on parameters that are about to move.
        if grad or not self._may_change():
            self._texts.update({c: text for c, text in fresh.items() if not text.requires_grad})
        return torch.stack([fresh[c] if c in fresh else self._texts[c] for c in categories])

    def text_for(self, samples: Sequence[SampleInfo]) -> Tensor:
        """(B,2,D): the text pair of each sample's category."""
        unique = list(dict.fromkeys(s.category for s in samples))
        row = {category: number for number, category in enumerate(unique)}
        texts = self.text_features(unique)
        return texts[sent(torch.tensor([row[s.category] for s in samples]), texts.device)]

    def kept_tree(self, key: Hashable, grow: Callable[[], TextTree]) -> TextTree:
        """The tree of sentences of this name, grown when first asked for, and kept as long as text features may be.

        It holds tokens and places alone, so parameters may move meanwhile.
        """
        if key not in self._trees:
            with torch.inference_mode(False):  # the next one to ask may be a backward pass
                self._trees[key] = grow()
        return self._trees[key]

    def clear_text_cache(self) -> None:
        """Drops kept text features; called whenever parameters may have changed."""
        self._texts.clear()
        self._trees.clear()

    def _may_change(self) -> bool:
        moving = self.training or self._adapting
        return moving and any(p.requires_grad for p in self.own_parameters().values())

    # -- what is its own ------------------------------------------------------------------------------------------
    def add_frozen(self, name: str, module: nn.Module) -> None:
        """Makes a second network an attribute: always in eval mode, never trained, in no checkpoint.

        The hash of its weights goes into rows and keys (`frozen_networks`).
        """
        if hasattr(self, name):
            raise ValueError(f"{type(self).__name__} has a '{name}' already")
        self.add_module(name, module.eval().requires_grad_(False))
        self._frozen[name] = hash_weights(module.state_dict())

    @property
    def frozen_networks(self) -> dict[str, str]:
        """Name -> hash of the weights, of each network that `add_frozen` took."""
        return dict(self._frozen)

    def is_own(self, name: str) -> bool:
        """Whether what has this dotted name is neither the backbone's nor a frozen network's."""
        return name.partition(".")[0] not in {"backbone", *self._frozen}

    def own_parameters(self) -> dict[str, nn.Parameter]:
        """Name -> parameter, without the backbone and frozen networks."""
        return {name: parameter for name, parameter in self.named_parameters() if self.is_own(name)}

    def own_state(self) -> dict[str, Tensor]:
        """Each parameter and persistent buffer that is its own, on the CPU: what a checkpoint holds."""
        return {name: value.detach().cpu() for name, value in self.state_dict().items() if self.is_own(name)}

    def load_own_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes over what `own_state` gave. A buffer that is empty here takes any number of rows (a memory).

        Raises:
            ValueError: a tensor that is missing, unknown or of another shape.
        """
        own = {name: value for name, value in self.state_dict().items() if self.is_own(name)}
        if odd := sorted(own.keys() ^ state.keys()):
            raise ValueError(f"tensors missing or unknown: {', '.join(odd)}")
        buffers = dict(self.named_buffers())
        for name, value in state.items():
            if name in buffers and _fits_empty(own[name], value):
                path, _, attribute = name.rpartition(".")
                setattr(self.get_submodule(path), attribute, torch.empty_like(value, device=own[name].device))
            elif own[name].shape != value.shape:
                raise ValueError(f"{name} is {tuple(value.shape)}, its configuration asks for {tuple(own[name].shape)}")
        self.load_state_dict(dict(state), strict=False)
        self.clear_text_cache()

    def resolved_config(self) -> dict[str, Any]:
        """The resolved configuration as plain types, without what changes no number: what is hashed into keys."""
        return what_counts(self.config)

    def generator_for(self, sample: SampleInfo, purpose: str = "map") -> torch.Generator:
        """A generator on the CPU for what is drawn for this image: of the seed and its id alone, whatever its batch."""
        return self._generator(f"{purpose}|{sample.id}")

    def generator_for_all(self, purpose: str) -> torch.Generator:
        """A generator on the CPU for what is drawn once for all images: of the seed and the purpose alone."""
        return self._generator(purpose)

    def _generator(self, purpose: str) -> torch.Generator:
        seed = getattr(self.config, "seed", 0)
        digest = hashlib.sha256(f"{seed}|{purpose}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)

    @contextmanager
    def adaptation(self) -> Iterator[None]:
        """While it holds, gradients are on and own parameters require them.

        Afterwards own parameters, buffers and gradients are as they were before.
        """
        own = [m for name, m in self.named_modules() if name == "" or self.is_own(name)]
        tables = [table for module in own for table in (module._parameters, module._buffers)]
        before = [(table, dict(table), {n: t.detach().clone() for n, t in table.items() if t is not None})
                  for table in tables]  # fmt: skip
        learnt = {parameter: parameter.requires_grad for parameter in self.own_parameters().values()}
        self._adapting = True
        try:
            with torch.inference_mode(False), torch.enable_grad():
                for parameter in learnt:
                    parameter.requires_grad_(True)
                yield
        finally:
            self._adapting = False
            with torch.no_grad():
                for table, tensors, values in before:
                    table.clear()
                    table.update(tensors)
                    for name, value in values.items():
                        tensors[name].copy_(value)
            for parameter, learns in learnt.items():
                parameter.grad = None
                parameter.requires_grad_(learns)

    # -- training -------------------------------------------------------------------------------------------------
    @classmethod
    def trains(cls, config: ConfigT | None = None) -> bool:
        """Whether it has stages, however many epochs they last.

        config: a configuration may change it, and then the class overrides this; None is its usual one.
        """
        return cls.stages is not ZeroShotMethod.stages

    def trainables(self, stage: Stage) -> dict[str, nn.Parameter]:
        """Name -> parameter of what learns in a stage.

        Raises:
            ValueError: the stage names something that the method does not have.
        """
        own = {} if stage.observes and stage.trainables is None else self.own_parameters()
        asked = tuple(own) if stage.trainables is None else stage.trainables
        self._check_names(stage, "trainables", asked, own)
        return {name: p for name, p in own.items() if any(_is_within(name, part) for part in asked)}

    def begin_stage(self, stage: Stage) -> None:
        """Prepares a stage: exactly its trainables learn.

        Raises:
            ValueError: the stage names something that the method does not have.
        """
        learning = self.trainables(stage)
        self._check_names(stage, "groups", stage.groups, learning)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in learning)
        self._stage = stage
        self.pending.forget()
        self.automatic_optimization = not stage.observes
        self.clear_text_cache()

    def optimizer_for(self, stage: Stage) -> torch.optim.Optimizer:
        """The stage's optimiser over its trainables, in the stage's parameter groups."""
        if stage.optimizer is None:
            raise ValueError(f"{self.title}: stage '{stage.name}' only observes, and has no optimizer")
        learning = self.trainables(stage)
        if not stage.groups:
            return stage.optimizer(list(learning.values()))
        members: dict[str, list[nn.Parameter]] = {}
        for name, parameter in learning.items():
            group = max((part for part in stage.groups if _is_within(name, part)), key=len, default="")
            members.setdefault(group, []).append(parameter)
        return stage.optimizer([{"params": of, **stage.groups.get(group, {})} for group, of in members.items()])

    def train(self, mode: bool = True) -> ZeroShotMethod[ConfigT]:
        # A trained method is frozen, and keeps its texts from one test to the next, each of which calls `eval`.
        if mode != self.training or any(p.requires_grad for p in self.own_parameters().values()):
            self.clear_text_cache()
        super().train(mode)
        for name in self._frozen:
            self.get_submodule(name).eval()
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ZeroShotMethod[ConfigT]:
        super()._apply(fn, recurse)
        if self._where() != self._kept_where:  # kept texts stay behind when the module goes to another device
            self._kept_where = self._where()
            self.clear_text_cache()
        return self

    def _where(self) -> tuple[torch.device, torch.dtype]:
        first = next(self.backbone.parameters())
        return first.device, first.dtype

    # -- checks ---------------------------------------------------------------------------------------------------
    def _check_needs(self, backbone: Backbone) -> None:
        if lacking := sorted(self.needs - backbone.offers):
            words = " and ".join(_OFFERS.get(name, name) for name in lacking)
            raise BackboneError(
                f"{self.title} needs {words}, and backbone {backbone.name} has none; take another --backbone"
            )

    def _check_filled(self) -> None:
        """Raises TypeError when `resolve` left a field open."""
        for each in fields(self.config):
            if each.metadata.get("filled") and getattr(self.config, each.name) is None:
                inherited = each.name in {usual.name for usual in fields(MethodConfig)}
                do = "call super().resolve first" if inherited else "fill it in there"
                raise TypeError(f"{type(self).__name__}.resolve leaves {each.name} open; {do}")

    def _check_names(self, stage: Stage, what: str, asked: Iterable[str], there: Iterable[str]) -> None:
        there = list(there)
        if unknown := sorted(part for part in asked if not any(_is_within(name, part) for name in there)):
            raise ValueError(f"{self.title}: {what} of stage '{stage.name}' name unknown parameters: {unknown}")


def _is_within(name: str, part: str) -> bool:
    """Whether a parameter's dotted name is `part`, or lies in the module of that name."""
    return name == part or name.startswith(f"{part}.")


def _fits_empty(here: Tensor, value: Tensor) -> bool:
    """Whether `here` has no rows yet, and could have been `value` but for that."""
    return here.ndim == value.ndim and here.ndim > 0 and not len(here) and here.shape[1:] == value.shape[1:]
