"""The options of AnomalyCLIP: what they mean, where their defaults come from, and which values no run can have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from zsad_bench.backbones.clip import Backbone
from zsad_bench.backbones.maps import scaled_sigma
from zsad_bench.errors import UsageError
from zsad_bench.methods._config import check_bounds, default
from zsad_bench.types import PosInterp


@dataclass(frozen=True)
class AnomalyClipConfig:
    """Defaults of the released training script and the paper.

    Block numbers left at None scale to the backbone: taps 24 and first_vv_block 6 of 24 visual blocks, deep_depth 9
    of 12 text blocks (that is 8 matrices, in front of blocks 2..9). Numbers given are taken as they are.
    fidelity: `paper`, or `official` for the released behaviour (deep tokens rounded to fp16).
    gaussian_sigma: None is 4 px at 518 px, scaled with the image.
    ensemble: the baselines of FAPrompt's Table 5. `seeds`: several prompt pairs with deep tokens of their own, their
    scores and maps averaged. `orthogonal`: one normal prompt and several abnormal ones that share no token, held
    apart and averaged to a prototype.
    members: of the ensemble, None is 10 (1 without one): stated for `orthogonal`, our choice for `seeds`.
    ortho_weight: of |cos| summed over the pairs of abnormal texts; None is 0.1 for `orthogonal`, the weight and the
    sum of FAPrompt's released code, since none is stated for this baseline.
    """

    image_size: int = 518
    pos_interp: PosInterp = "bilinear"
    fidelity: Literal["paper", "official"] = "paper"
    n_ctx: int = 12
    deep_len: int = 4
    deep_depth: int | None = None
    deep_token_cast: Literal["none", "fp16"] | None = None
    first_vv_block: int | None = None
    taps: tuple[int, ...] | None = None
    global_ln_post: bool = False  # the released prompts were trained without it (issue 14 of the official code)
    temperature: float = 0.07
    local_weight: float = 4.0
    map_reduction: Literal["sum", "mean"] = "sum"
    gaussian_sigma: float | None = None
    truncate_context: bool = True
    ensemble: Literal["none", "seeds", "orthogonal"] = "none"
    members: int | None = None
    ortho_weight: float | None = None
    epochs: int = 15
    batch_size: int = 8
    lr: float = 1e-3
    init_std: float = 0.02
    seed: int = 111  # of the initial prompts; a run sets it to its own


def resolve(title: str, config: AnomalyClipConfig, backbone: Backbone) -> AnomalyClipConfig:
    """The configuration with preset, block numbers, smoothing and the ensemble filled in.

    Raises:
        UsageError: a number that no run can have, or one that the chosen ensemble has no use for.
    """
    kind = config.ensemble
    resolved = replace(
        config,
        deep_depth=default(config.deep_depth, backbone.scale_text_block(9)),
        deep_token_cast=default(config.deep_token_cast, "fp16" if config.fidelity == "official" else "none"),
        first_vv_block=default(config.first_vv_block, backbone.scale_block(6)),
        taps=tuple(default(config.taps, (backbone.n_blocks,))),
        gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(4.0, config.image_size)),
        members=default(config.members, 1 if kind == "none" else 10),
        ortho_weight=default(config.ortho_weight, 0.1 if kind == "orthogonal" else 0.0),
    )
    if not resolved.taps:
        raise UsageError(f"{title}: taps=[]; expected at least one block")
    check_bounds(
        title,
        resolved,
        above_zero=("temperature", "lr"),
        n_ctx=max(1, config.deep_len - 2),  # deep tokens overwrite rows 1..deep_len, all before end-of-text
        deep_len=0,
        deep_depth=1,
        local_weight=0,
        gaussian_sigma=0,
        members=1,
        ortho_weight=0,
        init_std=0,
    )
    if kind == "none" and resolved.members > 1:
        raise UsageError(
            f"{title}: members={resolved.members}, ensemble=none; take --set ensemble=seeds or ensemble=orthogonal"
        )
    if kind != "orthogonal" and resolved.ortho_weight > 0:
        found = f"ortho_weight={resolved.ortho_weight}, ensemble={kind}"
        raise UsageError(f"{title}: {found}; take --set ensemble=orthogonal, or leave ortho_weight out")
    return resolved
