"""AF-CLIP: one attention adapter for block outputs that were smoothed over their neighbourhoods, one learned context.

Paper: "AF-CLIP", arXiv 2507.19949; of its text, abstract and introduction were at hand. The released code has no
licence and was not opened. **Not verified against official code**: the golden numbers (tests/golden) come from an
independent reference written from the same description as this file. They show that the formulas agree, not that the
authors' program does.

Described: the tower, blocks 6, 12, 18 and 24, neighbourhoods of 1, 3 and 5 patches with sigma 4 and a border of zeros,
the adapter and its sizes, the two sentences with a context in front of start-of-text, the sum over twelve token sets,
the losses and their weights, Adam and its settings. Our choice, the sources at hand being silent:

- the mask on the grid of patches: bilinear without antialias, above 0.5;
- alignment: pairs within one image, sums over the batch before the division, clipped token set by token set
  (`align_pairs` has the other reading); no term where a batch has no pair of unlike patches;
- binary cross-entropy from logits, so that nothing saturates; initial values of the adapter (PyTorch's own).

Axes: those of `backbones/`; T = P + N rows, S token sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.weights import unset
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.losses import binary_focal
from zsad_bench.methods._config import check_bounds, default, quarter_blocks
from zsad_bench.methods._scoring import added, l2_normalize, scaled_sigma, smooth, upsample
from zsad_bench.methods.base import MethodConfig, Parameters, Stage, ZeroShotMethod, filled, silent
from zsad_bench.types import Batch, Category, Features, Pooled, Prediction, SampleInfo, Tap


@dataclass(frozen=True)
class AfClipConfig(MethodConfig):
    """Sources of the defaults: the top of this file.

    taps: numbers of the blocks that are read; None is 6, 12, 18, 24 of 24, scaled to the backbone.
    neighbourhoods: odd sides, in patches, of the windows that each tap is smoothed over; 1 leaves it as it is.
    neighbourhood_sigma: of the Gaussian inside these windows, in patches.
    sentences: normal first; the context precedes their start-of-text.
    n_heads, head_width: of the adapter; None is 8 heads in a tower of width 1024, scaled to the backbone's.
    focal_gamma: of both focal losses.
    map_weight: of the focal and L1 losses of the map. align_weight: of the alignment of patches. Both 0: it learns
    from image labels alone. align_pairs: which patches are paired, those of one `image` or those of the whole `batch`.
    gaussian_sigma: None is 4 px at 518 px, scaled with the image.
    """

    taps: tuple[int, ...] = filled()
    neighbourhoods: tuple[int, ...] = (1, 3, 5)
    neighbourhood_sigma: float = 4.0
    sentences: tuple[str, str] = ("without defect.", "with defect.")
    n_ctx: int = 12
    n_heads: int = filled()
    head_width: int = 64
    temperature: float = 0.07
    focal_gamma: float = 4.0
    map_weight: float = 1.0
    align_weight: float = 1.0
    align_pairs: Literal["image", "batch"] = "image"
    gaussian_sigma: float = filled()
    truncate_context: bool = silent(True)
    epochs: int = 2
    batch_size: int = 8
    lr: float = 1e-4
    init_std: float = 0.01
    seed: int = 122  # of the initial values; a run sets it to its own


class Adapter(nn.Module):
    """LayerNorm and multi-head self-attention over all rows, (B,T,C) to (B,T,C), without a residual path."""

    def __init__(self, width: int, heads: int, head_width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads, inner = heads, heads * head_width
        self.norm = nn.LayerNorm(width)
        self.q, self.k, self.v = (unset(nn.Linear, width, inner, bias=False) for _ in range(3))
        self.out = unset(nn.Linear, inner, width)
        for layer in (self.q, self.k, self.v, self.out):  # PyTorch's own default, from our generator
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -(layer.in_features**-0.5), layer.in_features**-0.5, generator=generator)

    def forward(self, tokens_BTC: Tensor) -> Tensor:
        normed = self.norm(tokens_BTC)
        query, key, value = (
            part(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        adapted: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return adapted


class AfClip(ZeroShotMethod[AfClipConfig]):
    """`context` (n_ctx,Wt) and `adapter`, shared by all token sets, are all that learns."""

    title = "AF-CLIP"
    paper = "arXiv 2507.19949"
    unverified = "the official code has no licence and was not opened"
    needs = frozenset({"text", "cls"})
    Config = AfClipConfig

    token_ids: Tensor

    def __init__(self, backbone: Backbone, config: AfClipConfig | None = None) -> None:
        super().__init__(backbone, config)
        c, text = self.config, backbone.text_tower
        generator = torch.Generator().manual_seed(c.seed)
        self.context = nn.Parameter(c.init_std * torch.randn(c.n_ctx, text.width, generator=generator))
        self.adapter = Adapter(backbone.vision.width, c.n_heads, c.head_width, generator)
        self.token_ids = text.tokenize(c.sentences)  # on the host, so no buffer

    @classmethod
    def resolve(cls, config: AfClipConfig, backbone: Backbone) -> AfClipConfig:
        if "bidirectional_text" in backbone.offers:
            raise BackboneError(
                f"{cls.title} puts its context in front of the row that a bidirectional text tower is read at, and "
                f"{backbone.name} has such a tower; take a CLIP with --backbone"
            )
        config = super().resolve(config, backbone)
        resolved = replace(
            config,
            taps=tuple(default(config.taps, quarter_blocks(backbone))),
            neighbourhoods=tuple(config.neighbourhoods),
            n_heads=default(config.n_heads, max(1, round(8 * backbone.vision.width / 1024))),
            gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(4.0, config.image_size)),
        )
        check_bounds(
            cls.title,
            resolved,
            above_zero=("temperature", "lr", "neighbourhood_sigma"),
            n_ctx=1,
            n_heads=1,
            head_width=1,
            focal_gamma=0,
            map_weight=0,
            align_weight=0,
            gaussian_sigma=0,
            init_std=0,
        )
        if not resolved.taps:
            raise UsageError(f"{cls.title}: taps=[]; expected at least one block")
        if not resolved.neighbourhoods or any(side < 1 or side % 2 == 0 for side in resolved.neighbourhoods):
            found = list(resolved.neighbourhoods)
            raise UsageError(f"{cls.title}: neighbourhoods={found}; expected odd numbers of patches, such as [1,3,5]")
        _check_length(cls.title, resolved, backbone)
        return resolved

    @classmethod
    def learns_from(cls, config: AfClipConfig) -> Literal["masks", "labels"]:
        return "masks" if config.map_weight or config.align_weight else "labels"

    def stages(self) -> list[Stage]:
        def adam(parameters: Parameters) -> torch.optim.Optimizer:
            return torch.optim.Adam(parameters, lr=self.config.lr, betas=(0.5, 0.999))

        return [Stage("context_and_adapter", self.config.epochs, self.config.batch_size, optimizer=adam)]

    # -- texts ----------------------------------------------------------------------------------------------------
    def raw_texts(self) -> Tensor:
        """(2,D) raw features of the two sentences behind the learned context, normal first."""
        c, tower = self.config, self.backbone.text_tower
        context = self.context.expand(len(self.token_ids), -1, -1)
        prompts = torch.cat([context, tower.embed_tokens(self.token_ids)], 1)[:, : tower.context_length]
        eot = c.n_ctx + tower.end_of_text(self.token_ids)
        return self.backbone.encode_text(prompts, eot, truncate_context=c.truncate_context, activation=c.activation)

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        """The same pair for every category: these sentences never name the object."""
        return l2_normalize(self.raw_texts()).expand(len(categories), -1, -1)

    # -- images ---------------------------------------------------------------------------------------------------
    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset(self._taps()), frozenset()

    def _taps(self) -> list[Tap]:
        return [Tap(block, raw=True) for block in self.config.taps]

    def aggregated(self, features: Features) -> Iterator[Tensor]:
        """(B,T,C) block outputs with patches smoothed over their neighbourhoods, one per token set, taps outermost."""
        for tap in self._taps():
            prefix, patches = features.prefix(tap), features.patches(tap)
            for side in self.config.neighbourhoods:
                around = neighbourhood_means(patches, features.grid, side, self.config.neighbourhood_sigma)
                yield torch.cat([prefix, around], 1)

    def token_sets(self, features: Features) -> Iterator[Tensor]:
        """(B,T,D) normalised tokens of the joint space, set by set; made one at a time."""
        for tokens in self.aggregated(features):
            yield l2_normalize(self.backbone.vision.project(self.adapter(tokens)))

    def logits(self, token_sets: Iterator[Tensor] | Sequence[Tensor], text_B2D: Tensor) -> Tensor:
        """(B,T,2): cosines with the two sentences over the temperature, summed over the sets."""
        one_by_one = (torch.einsum("btd,bsd->bts", tokens, text_B2D) for tokens in token_sets)
        return added([cosines / self.config.temperature for cosines in one_by_one])

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: the class token's anomalous probability alone. Map: that of the patches, up-sampled, smoothed."""
        probs = self.logits(self.token_sets(features), self.text_for(samples)).softmax(-1)
        maps = upsample(probs[:, features.n_prefix :], features)[:, 1]
        return Prediction(probs[:, 0, 1], smooth(maps, self.config.gaussian_sigma))

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Focal loss of the image; focal and L1 loss of the grid of patches; unlike patches that are too alike."""
        c, prefix = self.config, features.n_prefix
        token_sets = list(self.token_sets(features))
        logits = self.logits(token_sets, self.text_for(batch.samples))
        margins = logits[..., 1] - logits[..., 0]  # their sigmoid is the anomalous probability
        terms = {"image": binary_focal(margins[:, 0], batch.labels, c.focal_gamma, from_logits=True)}
        if self.learns_from(c) == "labels":
            return terms
        target = masks_on_grid(batch.pixel_masks, features.grid)
        if c.map_weight:
            patches = margins[:, prefix:].flatten()
            focal = binary_focal(patches, target.flatten(), c.focal_gamma, from_logits=True)
            terms["map_focal"] = c.map_weight * focal
            terms["map_l1"] = c.map_weight * (patches.sigmoid() - target.flatten().to(patches.dtype)).abs().mean()
        if c.align_weight:
            over = [misalignment(tokens[:, prefix:], target, c.align_pairs) for tokens in token_sets]
            terms["alignment"] = c.align_weight * torch.stack(over).clamp(min=0).mean()
        return terms


def neighbourhood_means(patches_BNC: Tensor, grid: tuple[int, int], side: int, sigma: float) -> Tensor:
    """(B,N,C): each patch as the Gaussian mean of the side x side patches around it, those beyond the border being 0.

    The weights of a whole window sum to one, so patches at the border lose length. side: odd, 1 returns the input.
    """
    if side == 1:
        return patches_BNC
    offsets = torch.arange(side, device=patches_BNC.device, dtype=patches_BNC.dtype) - side // 2
    line = torch.exp(-0.5 * (offsets / sigma) ** 2)
    line = line / line.sum()
    n_channels = patches_BNC.shape[-1]
    kernel = torch.outer(line, line).expand(n_channels, 1, side, side)
    laid_out = patches_BNC.transpose(1, 2).unflatten(2, grid)
    around = F.conv2d(laid_out, kernel, padding=side // 2, groups=n_channels)
    return around.flatten(2).transpose(1, 2)


def masks_on_grid(masks_BHW: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B,N) bool: masks brought to the grid of patches, bilinear without antialias, above a half."""
    resized = F.interpolate(masks_BHW[:, None].float(), size=grid, mode="bilinear", align_corners=False)
    return (resized > 0.5).flatten(1)


def misalignment(tokens_BND: Tensor, masks_BN: Tensor, pairs: Literal["image", "batch"] = "image") -> Tensor:
    """Mean cosine of unlike patches minus that of like ones, in [-2, 2]; a scalar.

    tokens: normalised. masks: bool, two patches are alike where theirs are equal; each is paired with itself as well.
    pairs: within each `image`, or within the whole `batch`. Both means are over all pairs together. 0, with gradients
    of 0, where no two patches are unlike. O(B N D): means of pairs follow from sums of tokens.
    """
    abnormal = masks_BN.to(tokens_BND.dtype)
    weights = torch.stack([1 - abnormal, abnormal], 1)  # (B,2,N)
    sums, counts = weights @ tokens_BND, weights.sum(-1)  # (B,2,D), (B,2)
    if pairs == "batch":
        sums, counts = sums.sum(0, keepdim=True), counts.sum(0, keepdim=True)
    n_unlike = counts.prod(1).sum()
    # Each pair of unlike patches occurs twice, in both orders; the factor is in both sums.
    unlike = (sums[:, 0] * sums[:, 1]).sum() / n_unlike.clamp_min(1)
    alike = sums.square().sum() / counts.square().sum()
    return torch.where(n_unlike > 0, unlike - alike, 0.0)


def _check_length(title: str, config: AfClipConfig, backbone: Backbone) -> None:
    tower = backbone.text_tower
    longest = int(tower.end_of_text(tower.tokenize(config.sentences)).max()) + 1
    if (rows := config.n_ctx + longest) > tower.context_length:
        raise UsageError(
            f"{title}: n_ctx={config.n_ctx} and a sentence of {longest} tokens are {rows} rows, {backbone.name} reads "
            f"{tower.context_length}; give a smaller n_ctx with --set"
        )
