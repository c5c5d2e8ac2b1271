"""The options of FAPrompt: what they mean, where their defaults come from, and which values no run can have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from zsad_bench.backbones.clip import Backbone
from zsad_bench.backbones.maps import scaled_sigma
from zsad_bench.errors import UsageError
from zsad_bench.methods._config import check_bounds, default
from zsad_bench.types import PosInterp

# What paper and released code do differently; `official_fixed` is the code with the patches that the paper selects.
PAPER = {
    "token_selection": "topk",
    "max_mix": (1 / 2, 1 / 2),
    "adapted_local_weight": 1.0,
    "image_ce_weight": 0.0,
    "image_focal_input": "probability",
    "deep_token_cast": "none",
}
OFFICIAL = {
    "token_selection": "first_k",
    "max_mix": (2 / 3, 1 / 3),
    "adapted_local_weight": 0.5,
    "image_ce_weight": 1.0,
    "image_focal_input": "logits",
    "deep_token_cast": "fp16",
}
PRESETS = {"paper": PAPER, "official": OFFICIAL, "official_fixed": OFFICIAL | {"token_selection": "topk"}}


@dataclass(frozen=True)
class FaPromptConfig:
    """Defaults of the paper; where it is silent, of the released scripts. None is filled by the preset or backbone.

    fidelity: `paper`; `official`, the released behaviour; `official_fixed`, the same with the top patches.
    token_selection: patches that feed the prior: the most abnormal (paper, Eq. 3), or the first of the image (code).
    max_mix: shares of the static and the adapted map's maximum in the score (paper, Eq. 9: halves; code: 2 to 1).
    image_focal_input: the score as a probability, or taken for a logit as the code does.
    ortho_weight: 0.1 is the code's; the paper's is not known. The term is on the static texts alone.
    prior_reduction: over the entries of a normal image's prior (code: mean), then summed over those images.
    prior_from: `patches`; `image`, the global feature (Table 4); `none`, the static pass alone (Table 3, "+CAP").
    compound: False gives abnormal prompts that share no token with the normal one ("+DAP" of Table 3, inferred).
    match: abnormal similarity to the prototype, or the largest over the prompts (Table 5, "best-matched").
    Block numbers scale to the backbone: first_vv_block 6 of 24, deep_depth 9 of 12 text blocks (8 matrices, in front
    of blocks 2..9). gaussian_sigma: None is 10 px at 518 px, scaled with the image.
    """

    image_size: int = 518
    pos_interp: PosInterp = "bilinear"
    fidelity: Literal["paper", "official", "official_fixed"] = "paper"
    n_normal: int = 5
    n_abnormal: int = 2
    n_prompts: int = 10
    n_patches: int = 10
    compound: bool = True
    match: Literal["prototype", "best"] = "prototype"
    prior_from: Literal["patches", "image", "none"] = "patches"
    token_selection: Literal["topk", "first_k"] | None = None
    max_mix: tuple[float, float] | None = None
    adapted_local_weight: float | None = None
    image_ce_weight: float | None = None
    image_focal_input: Literal["probability", "logits"] | None = None
    ortho_weight: float = 0.1
    ortho_reduction: Literal["sum", "mean"] = "sum"
    prior_weight: float = 1.0
    prior_reduction: Literal["mean", "sum"] = "mean"
    deep_len: int = 4
    deep_depth: int | None = None
    deep_token_cast: Literal["none", "fp16"] | None = None
    first_vv_block: int | None = None
    global_ln_post: bool = False  # as in AnomalyCLIP, whose tower the released code takes over
    temperature: float = 0.07
    gaussian_sigma: float | None = None  # the default of the released evaluation script
    truncate_context: bool = True
    epochs: int = 7  # the epoch that the released evaluation loads; the rate is constant, so stopping there is equal
    batch_size: int = 8
    lr: float = 1e-3
    init_std: float = 0.02
    seed: int = 111  # of the initial parameters; a run sets it to its own


def resolve(title: str, config: FaPromptConfig, backbone: Backbone) -> FaPromptConfig:
    """The configuration with preset, block numbers and smoothing filled in.

    Raises:
        UsageError: a number that no run can have.
    """
    preset = {k: v for k, v in PRESETS[config.fidelity].items() if getattr(config, k) is None}
    resolved = replace(
        config,
        **preset,
        deep_depth=default(config.deep_depth, backbone.scale_text_block(9)),
        first_vv_block=default(config.first_vv_block, backbone.scale_block(6)),
        gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(10.0, config.image_size)),
    )
    check_bounds(
        title,
        resolved,
        above_zero=("temperature", "lr"),
        n_normal=max(1, config.deep_len - 2),  # deep tokens overwrite rows 1..deep_len, all before end-of-text
        n_abnormal=1 if config.compound else max(1, config.deep_len - 3),
        n_prompts=1,
        n_patches=1,
        adapted_local_weight=0,
        image_ce_weight=0,
        ortho_weight=0,
        prior_weight=0,
        deep_len=0,
        deep_depth=1,
        gaussian_sigma=0,
        init_std=0,
    )
    mix, patches = resolved.max_mix, (config.image_size // backbone.patch_size) ** 2
    if len(mix) != 2 or min(mix) < 0 or abs(sum(mix) - 1) > 1e-6:
        raise UsageError(f"{title}: max_mix={list(mix)}; expected two shares of 0 or more that sum to one")
    if config.prior_from == "patches" and config.n_patches > patches:
        found = f"n_patches={config.n_patches}, an image of {config.image_size} px has {patches}"
        raise UsageError(f"{title}: {found}; take --set n_patches={patches} or fewer")
    return resolved
