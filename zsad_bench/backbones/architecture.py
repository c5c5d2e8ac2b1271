"""open_clip's architectures and checkpoints by name, and a model of one of them without values."""

from __future__ import annotations

import difflib
from copy import deepcopy
from typing import Any

import torch
from open_clip import get_model_config, list_models
from open_clip.model import CLIP
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

from zsad_bench.backbones.checks import check_supported
from zsad_bench.errors import BackboneError, UnknownNameError

QUICK = "-quickgelu"  # how open_clip names the same architecture with QuickGELU


def named_config(name: str) -> dict[str, Any]:
    """open_clip's configuration of an architecture (a copy).

    Raises:
        UnknownNameError: no such architecture; the message lists the nearest ones.
    """
    if name in list_models():
        return get_model_config(name)
    known = {n.lower(): n for n in ["tiny", *list_models()]}
    near = [known[n] for n in difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)]
    hint = f"did you mean {', '.join(near)}?" if near else "known: tiny, local-dir:FOLDER and open_clip's names"
    raise UnknownNameError(f"unknown backbone '{name}'; {hint}")


def checkpoints(name: str) -> dict[str, dict[str, Any]]:
    """Tags to open_clip's records (hub, mean, std, quick_gelu) of the checkpoints of an architecture."""
    return {tag: get_pretrained_cfg(name, tag) for tag in list_pretrained_tags_by_model(name)}


def build_model(model_config: dict[str, Any], name: str) -> CLIP:
    """A CLIP of this architecture without values (meta device), to be filled by `weights.fit`.

    Raises:
        BackboneError: the configuration is not that of a plain ViT CLIP with CLIP's own tokenizer.
    """
    config = deepcopy(model_config)
    text, vision = config.get("text_cfg", {}), config.get("vision_cfg", {})
    foreign = [key for key in ("hf_model_name", "hf_tokenizer_name") if text.get(key)]
    foreign += [key for key in ("timm_model_name",) if vision.get(key)]
    foreign += [key for key in ("multimodal_cfg", "custom_text") if config.pop(key, None)]
    if isinstance(vision.get("layers"), list):
        foreign.append("a ResNet")
    if foreign:
        raise BackboneError(f"{name} cannot be used as a backbone ({', '.join(foreign)}): it is no plain ViT CLIP")
    try:
        with torch.device("meta"):
            model = CLIP(**config)
    except (TypeError, ValueError, AttributeError) as error:
        raise BackboneError(f"{name}: open_clip does not accept its configuration: {error}") from error
    check_supported(model, name)
    return model


def check_activation(name: str, config: dict[str, Any], quick_gelu: bool, what: str) -> None:
    """Raises BackboneError when weights trained with one GELU meet an architecture with the other one.

    Such a pair loads without complaint and gives wrong numbers.
    """
    has = bool(config.get("quick_gelu"))
    if has == quick_gelu:
        return
    other = name.removesuffix(QUICK) if has else name + QUICK
    advice = (
        f"use {other}"
        if other in list_models()
        else f'write "quick_gelu": {str(quick_gelu).lower()} into its configuration'
    )
    needed, found = ("QuickGELU", "plain GELU") if quick_gelu else ("plain GELU", "QuickGELU")
    raise BackboneError(f"{what}: trained with {needed}, but {name} computes {found}; {advice}")


def usable_names() -> dict[str, list[str]]:
    """open_clip's architectures that a Backbone can be made of, with their pretrained tags; builds none with values."""
    usable = {}
    for name in list_models():
        try:
            build_model(named_config(name), name)
        except BackboneError:
            continue
        usable[name] = sorted(checkpoints(name))
    return usable
