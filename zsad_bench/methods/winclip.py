"""WinCLIP, zero-shot: an ensemble of state sentences, and the class tokens of sliding windows of patches.

Paper: Jeong et al., CVPR 2023, arXiv 2303.14814. The authors released no code. Three public re-implementations differ
from the paper and from each other: Accurate-WinCLIP (zqhang; no licence file known to us), anomalib (Apache-2.0) and
mala-lab's WinCLIP (likewise none known). None of their code was opened: ours follows the paper and their observed
behaviour, with which tests/golden compares it on random weights.

Where ours differs from all of them: the patch embedding is computed once per image, the windows of a batch run
together, and each scale is aggregated by one matrix product. `fidelity` sets what paper and Accurate-WinCLIP do
differently: the templates and how a class is called. The few-shot part of WinCLIP is not here.

Published numbers are for ViT-B-16-plus-240 / laion400m_e31 at 240 px (15 x 15 patches). Windows are counted in
patches, so on another grid they cover another share of the object: that is a different method, and is to be called so.

Axes: B images, P patches row-major, W windows row-major, C vision width, D joint width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from zsad_bench.backbones.base import Backbone
from zsad_bench.errors import UsageError
from zsad_bench.methods._config import check_bounds, default
from zsad_bench.methods._scoring import added, l2_normalize, smooth, upsample
from zsad_bench.methods.base import MethodConfig, ZeroShotMethod, filled, silent
from zsad_bench.prompts.load import read
from zsad_bench.prompts.names import class_name
from zsad_bench.types import Category, Features, Pooled, Prediction, SampleInfo, Tap, sent

WINDOWS_ON_CPU = 256  # at once: bounds memory; larger chunks gain nothing there
LEAST_SCORE = 1e-12  # an underflowed probability must not become an infinite reciprocal


@dataclass(frozen=True)
class WinClipConfig(MethodConfig):
    """Defaults of the paper; where it is silent, of Accurate-WinCLIP.

    image_size: None is the backbone's native size (240 for ViT-B-16-plus-240).
    fidelity: `paper` takes the 22 templates and names with blanks; `official` what Accurate-WinCLIP runs, 21
    templates (one of them twice) and names as they stand.
    class_names: `raw` is the category's name with blanks for underscores, `folder` with the underscores;
    `prompt_name` what the dataset's card says people call it (the references have no such table); or `object`.
    normalize_before_mean: each sentence to length one before averaging (mala-lab's).
    scales: sides of the windows in patches, stride 1. The image score is always the full image's alone.
    window_batch: windows encoded at once; None is 256 on the CPU and all of a batch elsewhere. Changes no result.
    """

    fidelity: Literal["paper", "official"] = "paper"
    template_set: Literal["paper22", "public21"] = filled()
    class_names: Literal["raw", "folder", "prompt_name", "object"] = filled()
    normalize_before_mean: bool = False
    temperature: float = 0.07  # Accurate-WinCLIP and anomalib; mala-lab's is 0.01. Harmonic means depend on it
    scales: tuple[int, ...] = (2, 3)
    align_corners: bool = False
    gaussian_sigma: float = 0.0
    window_batch: int | None = silent(None)


class WinClip(ZeroShotMethod[WinClipConfig]):
    title = "WinCLIP"
    paper = "arXiv 2303.14814 (CVPR 2023)"
    Config = WinClipConfig
    needs = frozenset({"text", "cls"})

    @classmethod
    def resolve(cls, config: WinClipConfig, backbone: Backbone) -> WinClipConfig:
        official = config.fidelity == "official"
        resolved = replace(
            config,
            image_size=default(config.image_size, backbone.image_size),
            template_set=default(config.template_set, "public21" if official else "paper22"),
            class_names=default(config.class_names, "folder" if official else "raw"),
            scales=tuple(config.scales),
        )
        check_bounds(cls.title, resolved, above_zero=("temperature",), gaussian_sigma=0)
        if config.window_batch is not None:
            check_bounds(cls.title, resolved, window_batch=1)
        backbone.forward_spec(resolved.image_size, resolved.pos_interp)  # refuses a size that is not whole patches
        _check_scales(cls.title, resolved, backbone)
        return resolved

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset(), frozenset({"cls"})

    # -- text ----------------------------------------------------------------------------------------------------
    def sentences(self, category: Category) -> tuple[list[str], list[str]]:
        """The normal and the anomalous sentences of a category: every state in every template."""
        how = self.config.class_names
        name = category.name if how == "folder" else class_name(category, how)
        data = read("winclip")
        templates: list[str] = data["templates"][self.config.template_set]

        def of(states: list[str]) -> list[str]:
            return [template.replace("{}", state.replace("{}", name)) for state in states for template in templates]

        return of(data["states"]["normal"]), of(data["states"]["anomalous"])

    def text_means(self, category: Category) -> Tensor:
        """(2,D): mean feature of the normal and of the anomalous sentences, not normalised."""
        encode, activation = self.backbone.encode_prompts, self.config.activation
        features = [encode(sentences, activation=activation) for sentences in self.sentences(category)]
        if self.config.normalize_before_mean:
            features = [l2_normalize(f) for f in features]
        return torch.stack([f.mean(0) for f in features])

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        return l2_normalize(torch.stack([self.text_means(c) for c in categories]))

    # -- images --------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def encode(self, images: Tensor, samples: Sequence[SampleInfo]) -> Features:
        """The full image's feature, `pooled("cls")`, and `extra["windows"]`: side -> (B,W,D).

        At 15 x 15 patches that is 13 times the tokens of a plain pass. Memory: O(B*W*D) kept, O(window_batch) while
        encoding.

        Raises:
            UsageError: images of another size than configured.
        """
        height, width = images.shape[-2:]
        if min(height, width) != self.config.image_size:
            raise UsageError(f"images are {height}x{width}, {self.title} is set to {self.config.image_size}")
        tokens = self.backbone.embed_patches(images, self.config.pos_interp)
        grid = (height // self.backbone.vision.patch_size, width // self.backbone.vision.patch_size)
        whole = self._encode_class(tokens)
        windows = {side: self.encode_windows(tokens, grid, side) for side in self.config.scales}
        return Features({}, {"cls": whole}, grid, (height, width), extra={"windows": windows})

    def _encode_class(self, tokens: Tensor) -> Tensor:
        """(B,D): the class token's feature of any rows that could enter block 1."""
        return self.backbone.vision.project(self.backbone.run_blocks(tokens, self.config.activation)[:, 0])

    def encode_windows(self, tokens: Tensor, grid: tuple[int, int], side: int) -> Tensor:
        """(B,W,D): the class token of every window, seeing only that window's patches; tokens (B,1+P,C).

        A window is a sequence of its own (the prefix rows and side*side patches with the positions they have in the
        image): patches outside are left out, not masked.
        """
        members = sent(window_members(*grid, side), tokens.device)
        n_prefix = self.backbone.vision.n_prefix
        prefix = torch.arange(n_prefix, device=members.device).expand(len(members), -1)
        rows = torch.cat([prefix, n_prefix + members], 1)
        n_windows = len(rows)
        if torch.compiler.is_compiling():  # all at once: a graph that is exported has no loop over a batch of any size
            together: Tensor = self._encode_class(tokens[:, rows].flatten(0, 1)).unflatten(0, (-1, n_windows))
            return together
        places = torch.arange(len(tokens) * n_windows, device=tokens.device)
        at_once = self.config.window_batch or (WINDOWS_ON_CPU if tokens.device.type == "cpu" else len(places))
        parts = []
        for some in places.split(at_once):
            short = tokens[(some // n_windows)[:, None], rows[some % n_windows]]
            parts.append(self._encode_class(short))
        windows: Tensor = torch.cat(parts).unflatten(0, (len(tokens), n_windows))
        return windows

    # -- where they meet -----------------------------------------------------------------------------------------
    def probabilities(self, features_BWD: Tensor, text_B2D: Tensor) -> Tensor:
        """(B,W): anomalous probability of each feature."""
        cosines = torch.einsum("bwd,bsd->bws", l2_normalize(features_BWD), text_B2D)
        return (cosines / self.config.temperature).softmax(-1)[..., 1]

    def patch_map(self, features: Features, image_score: Tensor, text: Tensor) -> Tensor:
        """(B,P) float64: harmonic mean of the image score and the maps of all scales."""
        rows, cols = features.grid
        maps = [
            harmonic_map(self.probabilities(windows, text), window_members(rows, cols, side), rows * cols)
            for side, windows in features.extra["windows"].items()
        ]
        layers = [image_score.double().clamp_min(LEAST_SCORE)[:, None], *maps]
        return len(layers) / added([1 / layer for layer in layers])

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: the full image's anomalous probability alone. Map: windows of all scales and the image, harmonic."""
        c, text = self.config, self.text_for(samples)
        image = self.probabilities(features.pooled("cls")[:, None], text)[:, 0]
        patches = self.patch_map(features, image, text).to(torch.float32)
        anomaly_map = upsample(patches[..., None], features, align_corners=c.align_corners)[:, 0]
        return Prediction(image, smooth(anomaly_map, c.gaussian_sigma))


def window_members(rows: int, cols: int, side: int) -> Tensor:
    """(W,side*side) int64: the patches of every window of a grid, 0-based; windows and members row-major."""
    patches = torch.arange(rows * cols).view(rows, cols)
    return patches.unfold(0, side, 1).unfold(1, side, 1).flatten(2).flatten(0, 1)


def harmonic_map(scores_BW: Tensor, members_WM: Tensor, n_patches: int | None = None) -> Tensor:
    """(B,P) float64: for every patch the harmonic mean of the scores of the windows that cover it.

    scores: in [0, 1]; members: as `window_members` says, so that each patch is covered. n_patches: P; None reads it
    from the members. float64, as the references aggregate, also keeps the reciprocals out of the half precision of
    automatic casting.
    """
    n_patches = int(members_WM.max()) + 1 if n_patches is None else n_patches
    covers = torch.zeros(len(members_WM), n_patches, dtype=torch.float64).scatter_(1, members_WM, 1.0)
    covers = sent(covers, scores_BW.device)
    return covers.sum(0) / (scores_BW.double().clamp_min(LEAST_SCORE).reciprocal() @ covers)


def _check_scales(title: str, config: WinClipConfig, backbone: Backbone) -> None:
    """Raises UsageError unless there are windows, all different, each at least one patch and inside the grid."""
    scales, side = config.scales, config.image_size // backbone.vision.patch_size
    if not scales or min(scales) < 1 or len(set(scales)) < len(scales):
        raise UsageError(f"{title}: scales={list(scales)}; expected different window sides of 1 patch or more")
    if max(scales) > side:
        largest = max(scales)
        raise UsageError(
            f"{title}: windows of {largest}x{largest} patches do not fit {backbone.name}'s {side}x{side} grid at "
            f"{config.image_size} px; take --set image_size={largest * backbone.vision.patch_size} or smaller scales, "
            f"as in --set scales=[{side}]"
        )
