"""From a name and weights to a checked `Backbone`, or one clear line saying why not.

Names: `tiny` (ships with the package), an open_clip architecture such as `ViT-L-14-336-quickgelu`, or
`local-dir:<folder>` holding `open_clip_config.json` and a weight file. Weights: a checkpoint tag of open_clip, a file,
or a folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from torch import Tensor

from zsad_bench.backbones.architecture import build_model, check_activation, checkpoints, named_config
from zsad_bench.backbones.clip import OPENAI_MEAN, OPENAI_STD, Backbone
from zsad_bench.backbones.hub import cached_weights, find_weights
from zsad_bench.backbones.tiny import ASSET, ASSET_FILES, load_tiny
from zsad_bench.backbones.weights import OPENAI_EXTRAS, SUFFIXES, fit, read_state
from zsad_bench.errors import BackboneError, UnknownNameError

LOCAL_DIR = "local-dir:"
CONFIG_NAME = "open_clip_config.json"
# Folders may hold several files; what open_clip itself writes comes first.
PREFERRED = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")


def load_backbone(name: str, weights: str | Path | None = None, quick_gelu: bool | None = None) -> Backbone:
    """The frozen backbone `name` with `weights`, float32 on the CPU at its native size.

    weights: a tag (`openai`), a file or a folder; None takes the tag `openai` where the architecture has it. A cached
    checkpoint needs no network; an unreachable hub is reported within ten seconds.
    quick_gelu: None demands the activation that the weights were trained with. True or False sets it on purpose (the
    released code of APRIL-GAN, AdaCLIP and FiLo runs OpenAI's weights with exact GELU); where that is not the
    architecture's own, the backbone's name ends in `+quickgelu` or `+gelu`.

    Raises:
        UnknownNameError: no such architecture or tag; the message lists the nearest, or all tags.
        BackboneError: weights that are missing, damaged, of another architecture or activation, or out of reach.
    """
    if name == "tiny":
        if quick_gelu is not None:
            raise BackboneError("the activation of the tiny CLIP is part of it; leave quick_gelu out")
        return load_tiny(*_paths(weights))
    if name.startswith(LOCAL_DIR):
        if weights is not None:
            raise BackboneError(f"{name} brings its own weights; leave out --weights {weights}")
        folder = Path(name.removeprefix(LOCAL_DIR))
        plan = _plan(folder.name, _read_config(folder)["model_cfg"], quick_gelu)
        return _load_path(plan, {}, folder)
    tags = checkpoints(name)
    plan = _plan(name, named_config(name), quick_gelu)  # refuses what cannot be used before anything is downloaded
    tag = _tag(name, weights, tags)
    if tag in tags:
        plan.check(bool(tags[tag].get("quick_gelu")), f"the weights '{tag}'")
        path = find_weights(tags[tag], f"{name}/{tag}")
        return plan.fill(read_state(path), f"{name}/{tag}", tags[tag])
    return _load_path(plan, tags, Path(tag))


def weights_at_hand(name: str, weights: str | Path | None = None) -> bool:
    """Whether `load_backbone` would find a weight file on this machine, without reading it or asking the network.

    Raises:
        UnknownNameError, BackboneError: no such architecture or tag, or no weights named.
    """
    if name == "tiny":
        return all((Path(*(_paths(weights) or [ASSET])) / file).is_file() for file in ASSET_FILES)
    if name.startswith(LOCAL_DIR):
        return Path(name.removeprefix(LOCAL_DIR)).is_dir()
    named_config(name)
    tags = checkpoints(name)
    tag = _tag(name, weights, tags)
    return cached_weights(tags[tag], f"{name}/{tag}") is not None if tag in tags else Path(tag).exists()


@dataclass(frozen=True)
class _Plan:
    """An architecture waiting for values. checked: whether its activation must be that of the weights."""

    name: str
    config: dict[str, Any]
    model: CLIP
    checked: bool

    def check(self, quick_gelu: bool, what: str) -> None:
        if self.checked:
            check_activation(self.name, self.config, quick_gelu, what)

    def fill(self, state: dict[str, Tensor], source: str, preprocess: dict[str, Any]) -> Backbone:
        fit(self.model, state, self.name, source)
        mean, std = preprocess.get("mean", OPENAI_MEAN), preprocess.get("std", OPENAI_STD)
        return Backbone(self.model, self.name, mean, std)


def _plan(name: str, config: dict[str, Any], quick_gelu: bool | None) -> _Plan:
    if quick_gelu is not None and quick_gelu != bool(config.get("quick_gelu")):
        name, config = f"{name}{'+quickgelu' if quick_gelu else '+gelu'}", config | {"quick_gelu": quick_gelu}
    return _Plan(name, config, build_model(config, name), checked=quick_gelu is None)


def _tag(name: str, weights: str | Path | None, tags: dict[str, dict[str, Any]]) -> str:
    """A known tag or a path, from what was asked."""
    known = ", ".join(tags) or "none"
    if weights is None and "openai" not in tags:
        raise BackboneError(f"{name} needs --weights: a PATH or a tag; tags: {known}")
    tag = "openai" if weights is None else str(weights).removeprefix(LOCAL_DIR)
    path = Path(tag)
    if tag not in tags and not path.exists() and path.suffix not in SUFFIXES and len(path.parts) == 1:
        raise UnknownNameError(f"unknown weights '{tag}' of {name}; give a PATH or a tag; tags: {known}")
    return tag


def _load_path(plan: _Plan, tags: dict[str, dict[str, Any]], path: Path) -> Backbone:
    preprocess: dict[str, Any] = {}
    if path.is_dir():
        if (path / CONFIG_NAME).is_file():
            config = _read_config(path)
            plan.check(bool(config["model_cfg"].get("quick_gelu")), f"the weights in {path.name}")
            preprocess = config.get("preprocess_cfg", {})
        path = _weights_in(path)
    if tags and all(record.get("quick_gelu") for record in tags.values()):
        plan.check(True, f"every known checkpoint of {plan.name}")
    state = read_state(path)
    if _is_openai(path, state):
        plan.check(True, f"{path.name}, a file of OpenAI's")
    return plan.fill(state, path.name, preprocess)


def _paths(weights: str | Path | None) -> list[Path]:
    return [] if weights is None else [Path(str(weights).removeprefix(LOCAL_DIR))]


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
        config = json.loads(path.read_text(encoding="utf-8"))
        config["model_cfg"]["vision_cfg"], config["model_cfg"]["text_cfg"]
    except FileNotFoundError:
        raise BackboneError(f"{folder.name} holds no {CONFIG_NAME}; it names the architecture of the weights") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BackboneError(f"{path.name} in {folder.name} is not an open_clip configuration: {error!r}") from error
    return config


def _weights_in(folder: Path) -> Path:
    found = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES)
    preferred = [folder / n for n in PREFERRED if folder / n in found]
    if not preferred and len(found) != 1:
        what = ", ".join(p.name for p in found) or "none"
        raise BackboneError(f"{folder.name}: expected one weight file ({', '.join(SUFFIXES)}), found {what}")
    return (preferred or found)[0]
