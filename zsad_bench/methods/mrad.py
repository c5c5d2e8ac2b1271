"""MRAD-TF: auxiliary images and their labels are a memory, and a test image reads its scores off the nearest of them.

Paper: "MRAD", ICLR 2026, arXiv 2602.00522; of its text, the abstract was at hand. The released code (CROVO1026/MRAD)
has no licence and was not opened; its README and a third party's note on the paper were read. **Not verified against
official code**, and no golden numbers: `tests/methods/test_mrad.py` compares with the description, step by step.

Described: CLIP ViT-L/14-336, frozen; features of a V-V attention path in the joint space, normalised; two memories of
keys and labels (whole images; means of the patches inside and outside of the mask); labels read by a softmax over all
keys; the image score is what the image memory says plus the mean of the largest pixels of the map; nothing is trained.
Our choice, the sources at hand being silent:

- everything of the tower: AnomalyCLIP's image size, V-V path, tap, activation, positions and class token (the authors
  acknowledge its code), so that both share one pass over the images;
- patch features are normalised before the mean of a region and the mean again after it;
- the mask on the grid: a patch is inside where more than half of its pixels are. Where no patch is, an image has no
  anomalous patch key, where all are, no normal one;
- the temperature, the share of pixels in the image score, which is taken before smoothing, and the smoothing;
- which keys `max_keys` leaves: of normal and anomalous ones in turn, each by the rank that draws a prior's images, of
  draw 0 whatever the prior's draw.

Keys are stored in the order of that rank, so that the memory follows from the images alone: neither the seed, nor the
order of the images, nor the number of processes matters. MRAD-FT and MRAD-CLIP, which are trained, are not built.

Axes: those of `backbones/`; K keys; state 0 normal, 1 anomalous.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from zsad_bench.backbones.base import Backbone
from zsad_bench.errors import TrainingError, UsageError
from zsad_bench.methods._config import check_bounds, default
from zsad_bench.methods._ranks import of_all_ranks
from zsad_bench.methods._scoring import l2_normalize, pooled_name, scaled_sigma, smooth, upsample
from zsad_bench.methods.base import MethodConfig, Stage, ZeroShotMethod, filled, silent
from zsad_bench.prior_grammar import rank_of
from zsad_bench.types import Batch, Features, Pooled, Prediction, SampleInfo, Tap


@dataclass(frozen=True)
class MradConfig(MethodConfig):
    """Sources of the defaults: the top of this file.

    Block numbers left at None scale to the backbone: tap 24 and first_vv_block 6 of 24.
    global_ln_post: whether the class token passes the final norm before it is projected.
    temperature: of the softmax over keys. top_share: of the pixels of a map, whose mean is a part of the image score.
    gaussian_sigma: of the map; None is 4 px at 518 px, scaled with the image.
    max_keys: most keys of each memory; None keeps all.
    """

    tap: int = filled()
    first_vv_block: int = filled()
    global_ln_post: bool = False
    temperature: float = 0.07
    top_share: float = 0.01
    gaussian_sigma: float = filled()
    max_keys: int | None = None
    batch_size: int = silent(8)


class _Keys(NamedTuple):
    """Some keys of one memory. keys: (K,D) normalised. states: (K,) int64, -1 where there is no such key. ranks: (K,32)
    uint8, of their images."""

    keys: Tensor
    states: Tensor
    ranks: Tensor


class Mrad(ZeroShotMethod[MradConfig]):
    """`image_keys`, `image_values`, `patch_keys` and `patch_values` are the memory: (K,D) and (K,2), empty at first."""

    title = "MRAD-TF"
    paper = "arXiv 2602.00522 (ICLR 2026)"
    unverified = "the official code has no licence and was not opened"
    needs = frozenset({"vv", "cls"})
    stochastic_in_training = False
    Config = MradConfig

    image_keys: Tensor
    image_values: Tensor
    patch_keys: Tensor
    patch_values: Tensor

    def __init__(self, backbone: Backbone, config: MradConfig | None = None) -> None:
        super().__init__(backbone, config)
        for memory in ("image", "patch"):
            self.register_buffer(f"{memory}_keys", torch.empty(0, backbone.vision.joint_width))
            self.register_buffer(f"{memory}_values", torch.empty(0, 2))
        self._seen: dict[str, list[_Keys]] = {"image": [], "patch": []}

    @classmethod
    def resolve(cls, config: MradConfig, backbone: Backbone) -> MradConfig:
        config = super().resolve(config, backbone)
        resolved = replace(
            config,
            tap=default(config.tap, backbone.vision.n_blocks),
            first_vv_block=default(config.first_vv_block, backbone.scale_block(6)),
            gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(4.0, config.image_size)),
        )
        check_bounds(cls.title, resolved, above_zero=("temperature", "top_share"), gaussian_sigma=0)
        if resolved.top_share > 1:
            raise UsageError(f"{cls.title}: top_share={resolved.top_share}; expected a share of the pixels, 1 at most")
        if resolved.max_keys is not None:
            check_bounds(cls.title, resolved, max_keys=2)  # one of each state
        return resolved

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset({self._tap()}), frozenset({self._pooled()})

    def _tap(self) -> Tap:
        return Tap(self.config.tap, self.config.first_vv_block)

    def _pooled(self) -> Pooled:
        return pooled_name(self.config.global_ln_post)

    # -- the memory -----------------------------------------------------------------------------------------------
    def stages(self) -> list[Stage]:
        return [Stage("memory", 1, self.config.batch_size, observes=True)]

    def begin_stage(self, stage: Stage) -> None:
        super().begin_stage(stage)
        self._seen = {"image": [], "patch": []}

    def observe(self, features: Features, batch: Batch) -> None:
        """One image key per image; one patch key per region of it that has a patch."""
        digests = [rank_of("image", 0, sample.id) for sample in batch.samples]
        ranks = torch.frombuffer(bytearray.fromhex("".join(digests)), dtype=torch.uint8).view(-1, 32)
        self._seen["image"].append(_Keys(l2_normalize(features.pooled(self._pooled())), batch.labels, ranks))
        patches = l2_normalize(features.patches(self._tap()))
        inside = masks_on_grid(batch.pixel_masks, features.grid)
        for state, region in enumerate((~inside, inside)):
            n_patches = region.sum(1)
            mean = (patches * region[..., None]).sum(1) / n_patches.clamp(min=1)[:, None]
            states = torch.where(n_patches > 0, state, -1)
            self._seen["patch"].append(_Keys(l2_normalize(mean), states, ranks))

    def end_stage(self) -> None:
        """Stores what was seen, by all processes together; warns of anomalous images without an anomalous patch key.

        Raises:
            TrainingError: no image was seen.
        """
        anomalous: dict[str, set[bytes]] = {}
        for memory, parts in self._seen.items():
            if not parts:
                raise TrainingError(f"{self.title}: no image was seen, so its memory is empty; take another prior")
            keys, states, ranks = (torch.cat(column) for column in zip(*parts, strict=True))
            keys, states, ranks = map(of_all_ranks, (keys, states, ranks.to(keys.device)))
            found = _distinct(states.cpu(), ranks.cpu())
            anomalous[memory] = {one.rank for one in found if one.state == 1}
            stored = found if self.config.max_keys is None else _first(found, self.config.max_keys)
            rows = torch.tensor([one.row for one in stored], device=keys.device)
            values = F.one_hot(torch.tensor([one.state for one in stored]), 2)
            setattr(self, f"{memory}_keys", keys[rows])
            setattr(self, f"{memory}_values", values.to(keys))
        self._seen = {"image": [], "patch": []}
        if vanished := anomalous["image"] - anomalous["patch"]:
            rank_zero_warn(
                f"{self.title}: {len(vanished)} of {len(anomalous['image'])} anomalous images have no anomalous patch "
                "key, as their masks cover more than half of no patch"
            )

    # -- scores ---------------------------------------------------------------------------------------------------
    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: the anomalous part of what the image memory says + mean of the largest pixels before smoothing."""
        if not len(self.image_keys):
            raise UsageError(f"{self.title}: its memory is empty; train it on auxiliary data, or give a checkpoint")
        c = self.config
        of_image = read(features.pooled(self._pooled()), self.image_keys, self.image_values, c.temperature)
        of_patches = read(features.patches(self._tap()), self.patch_keys, self.patch_values, c.temperature)
        maps = upsample(of_patches, features)[:, 1]
        largest = maps.flatten(1).topk(max(1, round(c.top_share * math.prod(features.image_size)))).values
        return Prediction(of_image[:, 1] + largest.mean(1), smooth(maps, c.gaussian_sigma))


def read(queries: Tensor, keys_KD: Tensor, values_K2: Tensor, temperature: float) -> Tensor:
    """(…,2) in [0, 1], summing to one: the values of all keys, weighted by a softmax of their cosines with a query.

    queries: (…,D), not yet normalised. O(queries x K) memory.
    """
    return (l2_normalize(queries) @ keys_KD.mT / temperature).softmax(-1) @ values_K2


def masks_on_grid(masks_BHW: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B,N) bool: patches of which the mask covers more than half."""
    return (F.adaptive_avg_pool2d(masks_BHW.float(), grid) > 0.5).flatten(1)


class _Place(NamedTuple):
    """A key that may be stored, in the order in which it is. row: where it was seen."""

    state: int
    rank: bytes
    row: int


def _distinct(states_K: Tensor, ranks: Tensor) -> list[_Place]:
    """The keys that exist, each once, normal ones first and each state by rank.

    Processes that share images repeat some of them, to take equally many steps.
    """
    row_of: dict[tuple[int, bytes], int] = {}
    for row, (state, rank) in enumerate(zip(states_K.tolist(), ranks.numpy(), strict=True)):
        if state >= 0:
            row_of.setdefault((state, rank.tobytes()), row)
    return [_Place(*key, row) for key, row in sorted(row_of.items())]


def _first(found: Sequence[_Place], count: int) -> list[_Place]:
    """`count` of them, of each state in turn until it is exhausted, in the same order; fewer are a subset of more."""
    by_state = [[one for one in found if one.state == state] for state in (0, 1)]
    turns = sorted((turn, one) for group in by_state for turn, one in enumerate(group))
    return sorted(one for _, one in turns[:count])
