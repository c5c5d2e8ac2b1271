"""The configuration of DIVE: its defaults, how they scale to a backbone, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from zsad_bench.backbones.clip import Backbone
from zsad_bench.backbones.maps import scaled_sigma
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.methods._config import check_bounds, default
from zsad_bench.prompts.lexicon import read_lexicon
from zsad_bench.types import PosInterp

TITLE = "DIVE"


@dataclass(frozen=True)
class DiveConfig:
    """Sources of the defaults: the top of dive.py.

    deep_depth: P; None is 9 of 12 text blocks. inject_blocks: numbers of the blocks after which descriptions are
    injected; None is the last eighth of the tower, 21, 22, 23 of 24. n_visual: h. gamma: strength of the injection.
    disentangle, shallow, deep: the paper's ablations; what is switched off has no parameters. shallow=False and
    n_visual=0 are one.
    patch_attention: `vv` reads patches from the V-V path that starts at first_vv_block (None: 6 of 24).
    lexicon: a name in zsad_bench/prompts or the path of a YAML file; lexicon_hash: filled from it, and when given it
    must match. checkpoint_blocks: recompute blocks in the backward pass, less memory for more time.
    gaussian_sigma: None is 4 px at 518 px, scaled with the image. hidden_ratio: the offsets' hidden width is D over it.
    """

    image_size: int = 518
    pos_interp: PosInterp = "bilinear"
    n_ctx: int = 12
    deep_len: int = 4
    deep_depth: int | None = None
    n_visual: int = 4
    inject_blocks: tuple[int, ...] | None = None
    gamma: float = 0.1
    disentangle: bool = True
    shallow: bool = True
    deep: bool = True
    patch_attention: Literal["plain", "vv"] = "plain"
    first_vv_block: int | None = None
    lexicon: str = "dive_lexicon"
    lexicon_hash: str | None = None
    hidden_ratio: int = 4
    temperature: float = 0.07
    sem_weight: float = 1.0
    dis_weight: float = 1.0
    seg_weight: float = 1.0
    reg_weight: float = 1.0
    gaussian_sigma: float | None = None
    truncate_context: bool = True
    checkpoint_blocks: bool = False
    epochs: int = 15
    batch_size: int = 8
    lr: float = 1e-3  # AnomalyCLIP's; not validated for this method
    init_std: float = 0.02
    seed: int = 111  # of the initial values; a run sets it to its own


def resolve(config: DiveConfig, backbone: Backbone) -> DiveConfig:
    """The configuration with every None filled in and every switch at one with its numbers.

    Raises:
        UsageError: a number out of bounds, or a lexicon that is malformed or not the one expected.
        BackboneError: a depth or block that the backbone does not have.
    """
    blocks = default(config.inject_blocks, _last_blocks(backbone)) if config.deep else ()
    n_visual = config.n_visual if config.shallow else 0
    resolved = replace(
        config,
        deep_depth=default(config.deep_depth, backbone.scale_text_block(9)),
        inject_blocks=tuple(blocks),
        deep=bool(blocks),
        n_visual=n_visual,
        shallow=n_visual != 0,
        first_vv_block=default(config.first_vv_block, backbone.scale_block(6)),
        lexicon_hash=_lexicon_hash(config) if blocks else None,
        gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(4.0, config.image_size)),
    )
    check_bounds(
        TITLE,
        resolved,
        above_zero=("temperature", "lr"),
        deep_len=1,
        n_ctx=max(1, config.deep_len, n_visual),  # deep tokens and visual prompts are rows of the context
        n_visual=0,
        deep_depth=1,
        first_vv_block=1,
        hidden_ratio=1,
        gamma=0,
        sem_weight=0,
        dis_weight=0,
        seg_weight=0,
        reg_weight=0,
        gaussian_sigma=0,
        init_std=0,
    )
    _check_depths(resolved, backbone)
    return resolved


def _last_blocks(backbone: Backbone) -> tuple[int, ...]:
    first = min(backbone.scale_block(21), backbone.n_blocks - 1)
    return tuple(range(first, backbone.n_blocks))


def _lexicon_hash(config: DiveConfig) -> str:
    found = read_lexicon(config.lexicon).hash
    if config.lexicon_hash not in (None, found):
        raise UsageError(
            f"{TITLE}: lexicon '{config.lexicon}' has hash {found}, expected {config.lexicon_hash}; "
            "give the file that the other run used, or leave lexicon_hash out"
        )
    return found


def _check_depths(config: DiveConfig, backbone: Backbone) -> None:
    name, last = backbone.name, backbone.n_blocks - 1
    outside = [block for block in config.inject_blocks if not 1 <= block <= last]
    if outside:
        allowed = f"inject_blocks within 1..{last}, or deep=False" if last else "deep=False"
        raise BackboneError(
            f"{TITLE}: injection after block {outside[0]}, but {name} has {last + 1} blocks; take {allowed}"
        )
    if len(set(config.inject_blocks)) < len(config.inject_blocks):
        raise UsageError(f"{TITLE}: inject_blocks={list(config.inject_blocks)}; expected each block once")
    if config.deep_depth > backbone.n_text_blocks:
        raise BackboneError(
            f"{TITLE}: deep_depth={config.deep_depth}, but {name}'s text has {backbone.n_text_blocks} blocks; "
            f"take --set deep_depth={backbone.n_text_blocks} or less"
        )
