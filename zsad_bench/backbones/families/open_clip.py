"""CLIPs of open_clip: a plain ViT with CLIP's own text tower, by architecture name or in a folder of their own.

Names: an open_clip architecture such as `ViT-L-14-336-quickgelu`, or `local-dir:<folder>` holding
`open_clip_config.json` and a weight file. Weights: a checkpoint tag of open_clip (None is `openai` where the
architecture has it), a file, or a folder. Weights that were trained with another activation than the architecture's are
refused; another one is asked for on purpose with a method's `activation`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip import list_models
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.model import CLIP
from torch import Tensor

from zsad_bench.backbones.base import Backbone, BackboneFamily
from zsad_bench.backbones.families._open_clip import (
    MARKS,
    OPENAI_EXTRAS,
    OPENAI_MEAN,
    OPENAI_STD,
    build_model,
    check_activation,
    checkpoints,
    fit,
    fitting_names,
    from_model,
    named_config,
    usable_names,
)
from zsad_bench.backbones.file_kind import safetensors_notes
from zsad_bench.backbones.hub import cached_weights, find_weights
from zsad_bench.backbones.releases import WeightSource, licence_of, of_name
from zsad_bench.backbones.weights import LOCAL_DIR, asked_weights, file_in, read_state
from zsad_bench.errors import BackboneError

CONFIG_NAME = "open_clip_config.json"
# Folders may hold several files; what open_clip itself writes comes first.
PREFERRED = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
ACTIVATION, ACTIVATIONS = "activation", ("gelu", "quickgelu")  # in the notes of a converted file
ON_HUB = (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)


class OpenClip(BackboneFamily):
    title = "CLIP (open_clip)"
    marks = MARKS
    example = "ViT-L-14-336-quickgelu"

    @classmethod
    def names(cls) -> list[str]:
        return list_models()

    @classmethod
    def knows(cls, name: str) -> bool:
        return name.startswith(LOCAL_DIR) or name in list_models()

    @classmethod
    def listing(cls) -> dict[str, str]:
        tags = {name: ", ".join(tags) for name, tags in usable_names().items()}
        said = {name: known or "no pretrained tag: give --weights a file" for name, known in tags.items()}
        return said | {f"{LOCAL_DIR}FOLDER": "a folder in open_clip's format"}

    @classmethod
    def load(cls, name: str, weights: str | Path | None) -> Backbone:
        if name.startswith(LOCAL_DIR):
            if weights is not None:
                raise BackboneError(f"{name} brings its own weights; leave out --weights {weights}")
            folder = Path(name.removeprefix(LOCAL_DIR))
            return _load_path(_plan(folder.name, _read_config(folder)["model_cfg"]), {}, folder)
        tags = checkpoints(name)
        plan = _plan(name, named_config(name))  # refuses what cannot be used before anything is downloaded
        asked = _asked(name, weights, tags)
        if isinstance(asked, Path):
            return _load_path(plan, tags, asked)
        plan.check(bool(tags[asked].get("quick_gelu")), f"the weights '{asked}'")
        path = find_weights(tags[asked].get("hf_hub", ""), ON_HUB, f"{name}/{asked}")
        backbone = plan.fill(read_state(path, MARKS), f"{name}/{asked}", tags[asked])
        backbone.licence = licence_of(asked)
        return backbone

    @classmethod
    def at_hand(cls, name: str, weights: str | Path | None) -> bool:
        if name.startswith(LOCAL_DIR):
            return Path(name.removeprefix(LOCAL_DIR)).is_dir()
        tags = checkpoints(name)
        asked = _asked(name, weights, tags)
        if isinstance(asked, Path):
            return asked.exists()
        return cached_weights(tags[asked].get("hf_hub", ""), ON_HUB, f"{name}/{asked}") is not None

    @classmethod
    def sources(cls, name: str) -> list[WeightSource]:
        tags = {} if name.startswith(LOCAL_DIR) else checkpoints(name)
        return [
            WeightSource(
                name, tag, tags[tag].get("hf_hub", ""), (ON_HUB,), licence_of(tag),
                parameters=release.parameters if (release := of_name(name, tag)) else 0,
            )
            for tag in sorted(tags, key=lambda tag: (tag != "openai", tag))
        ]  # fmt: skip

    @classmethod
    def fitting(cls, state: Mapping[str, Tensor]) -> list[str]:
        return fitting_names({name.removeprefix("text."): tensor for name, tensor in state.items()})

    @classmethod
    def brings_weights(cls, name: str) -> bool:
        return name.startswith(LOCAL_DIR)

    @classmethod
    def architecture(cls, name: str) -> Backbone:
        folder = Path(name.removeprefix(LOCAL_DIR)) if name.startswith(LOCAL_DIR) else None
        config = named_config(name) if folder is None else _read_config(folder)["model_cfg"]
        called = name if folder is None else folder.name
        return from_model(build_model(config, called), called)


@dataclass(frozen=True)
class _Plan:
    """An architecture waiting for values."""

    name: str
    config: dict[str, Any]
    model: CLIP

    def check(self, quick_gelu: bool, what: str) -> None:
        check_activation(self.name, self.config, quick_gelu, what)

    def fill(self, state: dict[str, Tensor], source: str, preprocess: dict[str, Any]) -> Backbone:
        fit(self.model, state, self.name, source)
        mean, std = preprocess.get("mean", OPENAI_MEAN), preprocess.get("std", OPENAI_STD)
        return from_model(self.model, self.name, mean, std)


def _plan(name: str, config: dict[str, Any]) -> _Plan:
    return _Plan(name, config, build_model(config, name))


def _asked(name: str, weights: str | Path | None, tags: dict[str, dict[str, Any]]) -> str | Path:
    """A known tag or a path, from what was asked."""
    if weights is None and "openai" not in tags:
        raise BackboneError(f"{name} needs --weights: a PATH or a tag; tags: {', '.join(tags) or 'none'}")
    return asked_weights("openai" if weights is None else weights, tags, name)


def _load_path(plan: _Plan, tags: dict[str, dict[str, Any]], path: Path) -> Backbone:
    preprocess: dict[str, Any] = {}
    if path.is_dir():
        if (path / CONFIG_NAME).is_file():
            config = _read_config(path)
            plan.check(bool(config["model_cfg"].get("quick_gelu")), f"the weights in {path.name}")
            preprocess = config.get("preprocess_cfg", {})
        path = file_in(path, PREFERRED)
    if tags and all(record.get("quick_gelu") for record in tags.values()):
        plan.check(True, f"every known checkpoint of {plan.name}")
    recorded = safetensors_notes(path).get(ACTIVATION) if path.suffix == ".safetensors" and path.is_file() else None
    if recorded in ACTIVATIONS:  # of a converted file, in which nothing else says it
        plan.check(recorded == "quickgelu", f"{path.name}, whose notes say so")
    state = read_state(path, MARKS)
    if _is_openai(path, state):
        plan.check(True, f"{path.name}, a file of OpenAI's")
    return plan.fill(state, path.name, preprocess)


def _is_openai(path: Path, state: dict[str, Tensor]) -> bool:
    """Whether a file is one of OpenAI's: by name, by its bookkeeping keys, or by its half-precision matrices beside
    float32 norms, which no other release has."""
    if "openai" in path.name.lower() or any(key in state for key in OPENAI_EXTRAS):
        return True
    kinds = [state[k].dtype for k in ("visual.conv1.weight", "visual.ln_post.weight") if k in state]
    return kinds == [torch.float16, torch.float32]


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_NAME
    if not folder.is_dir():
        raise BackboneError(f"folder not found: {folder}")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        config["model_cfg"]["vision_cfg"], config["model_cfg"]["text_cfg"]
    except FileNotFoundError:
        raise BackboneError(f"{folder.name} holds no {CONFIG_NAME}; it names the architecture of the weights") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BackboneError(f"{path.name} in {folder.name} is not an open_clip configuration: {error!r}") from error
    return config
