"""What figures ask of trained checkpoints: attention and prompt embeddings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch

from zsad_bench import registry
from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.load import architecture, load_backbone
from zsad_bench.errors import CheckpointError, UsageError
from zsad_bench.leaderboard.figures.dive_fig_4 import Attention
from zsad_bench.leaderboard.figures.faprompt_prompts import Prompts
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.methods.dive import Dive
from zsad_bench.methods.faprompt import FaPrompt
from zsad_bench.prompts.lexicon import read_lexicon
from zsad_bench.runner import checkpoint
from zsad_bench.runner.checkpoint import Header
from zsad_bench.types import Normalisation, normalised
from zsad_bench.variant import PLAIN, variant_of

MethodT = TypeVar("MethodT", bound=ZeroShotMethod)


def find(runs: Path, method: str, backbone: str | None = None, **training: Any) -> list[tuple[Path, Header]]:
    """Checkpoints in `runs` of a method as it is, newest first; training: what its record must say.

    backbone: name, or None for any. Other files are passed over.
    """
    found = []
    for path in sorted(runs.glob(f"*/{method}.safetensors"), reverse=True):
        try:
            header = checkpoint.read_header(path)
        except CheckpointError:  # a half-written file is not a checkpoint
            continue
        wanted = {"variant": PLAIN, **training}
        facts = {"draw": 0, **header.training, "variant": variant_of(header.training.get("variant", ""))}
        if all(facts.get(key) == value for key, value in wanted.items()) and backbone in (None, _name(header)):
            found.append((path, header))
    return found


def attention(path: Path, weights: str | None, dataset: str, image: str | None) -> Attention:
    """DIVE's attention on one image of a dataset, in its last injected block.

    dataset: a registry name, `folder:PATH` or `csv:FILE`. image: part of the image's id; None takes the one with the
    largest mask of the first category.

    Raises:
        CheckpointError: not of DIVE, or of other weights. UsageError: no such image, or nothing is injected.
    """
    backbone = _backbone(path, weights)
    method = _loaded(path, backbone, Dive)
    size = method.config.image_size
    name, _, root = dataset.partition(":")
    data = registry.load("datasets", name)(
        root or None, mean=backbone.mean, std=backbone.std, image_size=size, workers=0
    )
    table, samples = data.table(), data.samples()
    if image:
        fitting = [i for i, sample in enumerate(samples) if image in data.info(sample).id]
        if not fitting:
            known = ", ".join(data.info(sample).id for sample in samples[:3])
            raise UsageError(f"--image {image}: no test image of {dataset} has this in its id; as in {known}")
        item = table[fitting[0]]
    else:
        first = [i for i, s in enumerate(samples) if s.category == samples[0].category and s.label]
        item = max((table[i] for i in first), key=lambda one: 0 if one.mask is None else one.mask.sum())
    pixels = torch.as_tensor(item.image)
    maps = method.attention_maps(normalised(pixels[None], Normalisation(backbone.mean, backbone.std)))
    block = max(maps)
    weights_NG = maps[block][0].mean(0)
    side = math.isqrt(len(weights_NG))
    mask = None if item.mask is None else item.mask
    return Attention(
        item.info.id, pixels.movedim(0, -1).numpy(), mask,
        weights_NG.reshape(side, side, -1).numpy(), read_lexicon(method.config.lexicon).sentences,
        method.is_abnormal.numpy(), block,
        "" if data.redistribute else f"Image of {data.title} ({data.licence}): not to be passed on.",
    )  # fmt: skip


def prompts(found: Iterable[tuple[Path, Header]], weights: str | None) -> list[Prompts]:
    """The text features of checkpoints of FAPrompt, by seed.

    Raises:
        CheckpointError: one that is of another method or of other weights.
    """
    made = []
    for path, header in sorted(found, key=lambda pair: pair[1].training.get("seed", 0)):
        method = _loaded(path, _backbone(path, weights), FaPrompt)
        with torch.no_grad():
            texts = torch.nn.functional.normalize(method.static_texts(), dim=-1)
        made.append(Prompts(f"seed {header.training.get('seed', 'unknown')}", texts.numpy()))
    return made


def defaults(method: str, fields: Iterable[str], backbone: str) -> dict[str, float | None]:
    """Field -> what the method's configuration is where nobody names it, on a backbone of that name.

    A prompt depth that follows the backbone is 9 of 12 text blocks; of a backbone that is unknown here it is None.
    """
    config = registry.load("methods", method).Config()
    found = {field: getattr(config, field) for field in fields}
    if found.get("deep_depth", 0) is None and (blocks := _text_blocks(backbone)):
        found["deep_depth"] = max(1, round(blocks * 9 / 12))
    return found


def _text_blocks(backbone: str) -> int | None:
    from zsad_bench.errors import BackboneError, UnknownNameError

    try:
        return architecture(backbone).text_tower.n_blocks
    except (UnknownNameError, BackboneError):  # a folder of somebody's, or one without texts
        return None


def _name(header: Header) -> str:
    return header.backbone.partition("@")[0]


def _loaded(path: Path, backbone: Backbone, cls: type[MethodT]) -> MethodT:
    """The method of a checkpoint, to be looked at."""
    method, _ = checkpoint.load(path, backbone, cls.registry_name())
    if not isinstance(method, cls):
        raise CheckpointError(f"checkpoint {path}: is of {type(method).__name__}, expected {cls.__name__}")
    return method.eval()


def _backbone(path: Path, weights: str | None) -> Backbone:
    return _opened(_name(checkpoint.read_header(path)), weights)


@cache
def _opened(name: str, weights: str | None) -> Backbone:
    return load_backbone(name, weights)
