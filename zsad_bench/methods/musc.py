"""MuSc: the test images of a category score one another; a patch with no close partner in most of them is anomalous.

Paper: Li et al., ICLR 2024, arXiv 2401.16753. Official code: xrli-U/MuSc, MIT, observed at b76b93d (2026-04-25).
Written from observed behaviour; parity with that code is tested in tests/golden on random weights. Nothing is trained,
and no text is read.

**Transductive**: the score of an image depends on all unlabelled test images of its category, and that most of them are
normal is what the method rests on. Its numbers do not stand beside those of methods that see one image at a time.

Where ours differs: parts of a category (`subsets`) are drawn without labels, while the official ones hold the same
share of every kind of anomaly; a window of the image scores that is larger than the category takes all of it; float32,
where the official run computes in half precision. `windows=[1,8,9]`, which the official code takes for VisA, was chosen
by the target's labels, so it is no preset here.

A tower without text (DINOv2) is read as the official code reads DINOv2: with the final norm, and the class feature as
it is. Its file of weights, its sizes and its preprocessing are this package's choice.

Axes: n images of a category, N patches, C vision width, D joint width, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from zsad_bench.backbones.base import Backbone
from zsad_bench.errors import UsageError
from zsad_bench.methods._config import check_bounds, default, quarter_blocks
from zsad_bench.methods._scoring import l2_normalize
from zsad_bench.methods.base import MethodConfig, ZeroShotMethod, filled, silent
from zsad_bench.types import Activation, Category, Features, FeatureType, Pooled, PosInterp, Prediction, SampleInfo, Tap

# Datasets without a normal test image (docs/datasets.md): most partners of a patch may then be anomalous.
WITHOUT_NORMAL = frozenset({"clinicdb", "colondb", "endo", "isic", "kvasir", "rsdd", "tn3k"})
REMARK = "no normal images to compare with"


@dataclass(frozen=True)
class MuscConfig(MethodConfig):
    """Defaults of the released code; None is filled by the backbone.

    pos_interp, activation: None is bicubic without antialias and exact GELU in a CLIP, which is what the released code
    computes with OpenAI's weights; in a tower without text the official interpolation of DINOv2 and its own activation.
    taps: numbers of the blocks that are read; None is 6, 12, 18, 24 of 24, scaled to the backbone.
    final_norm: patches with the tower's final norm and projection; None: where it has no text.
    unit_class: class features at unit length; None: where the tower has text.
    degrees: odd sides, in patches, of the neighbourhoods that patches are averaged over.
    share: of the other images, those with the nearest patches, whose mean distance is the score.
    rscin: image scores are averaged with those of similar images; else they are the largest value of the map.
    windows: numbers of similar images, the image itself included, that such averages are over.
    subsets: parts of a category that are scored apart, drawn by the seed; cost grows with the square of their size.
    kept_as: type in which patches wait for the last image of their category; float16 takes half the room.
    memory_mb: for distances, on the device; of no effect on the numbers but rounding.
    seed: of the subsets; a run sets it to its own.
    """

    pos_interp: PosInterp = filled()
    activation: Activation = filled()
    taps: tuple[int, ...] = filled()
    final_norm: bool = filled()
    unit_class: bool = filled()
    degrees: tuple[int, ...] = (1, 3, 5)
    share: float = 0.3
    rscin: bool = True
    windows: tuple[int, ...] = (1, 2, 3)
    subsets: int = 1
    kept_as: FeatureType = "float32"
    memory_mb: int = silent(2048)
    seed: int = 0


class Musc(ZeroShotMethod[MuscConfig]):
    """Nothing learns; all that it knows is in the set that it scores."""

    title = "MuSc"
    paper = "Li et al., ICLR 2024, arXiv 2401.16753"
    Config = MuscConfig
    needs = frozenset({"cls"})
    transductive = True
    fewest_images = 5  # with a share of 0.3 and one subset

    def __init__(self, backbone: Backbone, config: MuscConfig | None = None) -> None:
        super().__init__(backbone, config)
        self.fewest_images = self.config.subsets * fewest(self.config.share)
        self.host_features = self.config.kept_as

    @classmethod
    def resolve(cls, config: MuscConfig, backbone: Backbone) -> MuscConfig:
        has_text = "text" in backbone.offers
        activation: Activation = "gelu" if has_text else "own"
        pos_interp: PosInterp = "bicubic" if has_text else "official"
        resolved = replace(
            super().resolve(config, backbone),
            pos_interp=default(config.pos_interp, pos_interp),
            activation=default(config.activation, activation),
            taps=tuple(default(config.taps, quarter_blocks(backbone))),
            final_norm=default(config.final_norm, not has_text),
            unit_class=default(config.unit_class, has_text),
            degrees=tuple(config.degrees),
            windows=tuple(config.windows),
        )
        check_bounds(cls.title, resolved, above_zero=("share",), subsets=1, memory_mb=1)
        if resolved.share > 1:
            raise UsageError(f"{cls.title}: share={resolved.share}; expected at most 1, of the other images")
        for name in ("taps", "degrees", "windows"):
            if not getattr(resolved, name):
                raise UsageError(f"{cls.title}: {name}=[]; expected at least one number")
        if any(side < 1 or side % 2 == 0 for side in resolved.degrees):
            found = list(resolved.degrees)
            raise UsageError(f"{cls.title}: degrees={found}; expected odd numbers of patches, such as [1,3,5]")
        if any(size < 1 for size in resolved.windows):
            found = list(resolved.windows)
            raise UsageError(f"{cls.title}: windows={found}; expected numbers of images from 1 on, such as [1,2,3]")
        return resolved

    @classmethod
    def draws_at_test(cls, config: MuscConfig) -> bool:
        return config.subsets > 1

    def remark(self, category: Category) -> str:
        return REMARK if category.dataset in WITHOUT_NORMAL else ""

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset(self._taps()), frozenset({"cls"})

    def _taps(self) -> list[Tap]:
        return [Tap(block, raw=not self.config.final_norm) for block in self.config.taps]

    # -- scores ---------------------------------------------------------------------------------------------------
    def score_set(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Map: the grid's scores, up-sampled. Score: its largest value, averaged over similar images (RsCIN)."""
        grid_nN = self.grid_scores(features, samples)
        grid = grid_nN.unflatten(1, features.grid)[:, None]
        maps = F.interpolate(grid, size=features.image_size, mode="bilinear", align_corners=True)[:, 0]
        largest = maps.flatten(1).amax(1)
        if not self.config.rscin:
            return Prediction(largest, maps)
        classes = features.pooled("cls").to(self.backbone.device)
        classes = l2_normalize(classes) if self.config.unit_class else classes
        return Prediction(rescored(largest, classes, self.config.windows), maps)

    def grid_scores(self, features: Features, samples: Sequence[SampleInfo]) -> Tensor:
        """(n,N) float32 on the device: mean over taps and degrees, each part of the category by itself."""
        found = torch.empty(len(samples), features.grid[0] * features.grid[1], device=self.backbone.device)
        for part in self.parts(samples):
            of_part = features if len(part) == len(samples) else features.select(part)
            terms = [self.mutual(of_part, tap, side) for side in self.config.degrees for tap in self._taps()]
            found[part] = torch.stack(terms).mean(0)
        return found

    def parts(self, samples: Sequence[SampleInfo]) -> list[list[int]]:
        """Places of the images of each part, in the order given; parts differ by one image at most.

        Which images they hold follows from the seed and the images' ids, whatever the order and the labels are.
        """
        n_parts = self.config.subsets
        if n_parts == 1:
            return [list(range(len(samples)))]
        drawn = [self.generator_for(sample, "subset").initial_seed() for sample in samples]
        order = sorted(range(len(samples)), key=drawn.__getitem__)
        return [sorted(order[number::n_parts]) for number in range(n_parts)]

    def mutual(self, features: Features, tap: Tap, side: int) -> Tensor:
        """(n,N) float32: how far each patch is from the other images, at one tap and one degree.

        features: of all images that score one another, on the host or the device. Tiles of images are compared with
        tiles of images, so that `memory_mb` bounds the memory. What two tiles of one block of rows say of each other
        comes from one product.
        """
        n = len(features.rows[tap])
        rows_at_once, tile = self._block_sizes(features, tap, self.config.memory_mb * 2**20)
        scores = []
        for start, stop in _spans(0, n, rows_at_once):
            own = torch.cat(list(self._aggregated(features, tap, side, start, stop, tile)))
            nearest = own.new_empty((len(own), n, own.shape[1]))
            for low, high in _spans(0, len(own), tile):
                for left, right in _spans(low, len(own), tile):
                    cosines = _cosines(own[low:high], own[left:right])
                    nearest[low:high, start + left : start + right] = distance(cosines.amax(3)).transpose(1, 2)
                    if left > low:
                        nearest[left:right, start + low : start + high] = distance(cosines.amax(1)).transpose(0, 1)
            for before, behind in ((0, start), (stop, n)):
                at = before
                for others in self._aggregated(features, tap, side, before, behind, tile):
                    for low, high in _spans(0, len(own), tile):
                        largest = _cosines(own[low:high], others).amax(3)
                        nearest[low:high, at : at + len(others)] = distance(largest).transpose(1, 2)
                    at += len(others)
            nearest.diagonal(start).fill_(torch.inf)  # an image is no partner of itself
            scores += [mean_of_smallest(of_image, partners(n, self.config.share)) for of_image in nearest]
        return torch.stack(scores)

    def _aggregated(
        self, features: Features, tap: Tap, side: int, start: int, stop: int, at_once: int
    ) -> Iterator[Tensor]:
        """`aggregated` patches of the images from `start` to `stop`, in tiles, on the device."""
        for low, high in _spans(start, stop, at_once):
            patches = features.rows[tap][low:high, features.n_prefix :].to(self.backbone.device, torch.float32)
            yield aggregated(patches, features.grid, side)

    def _block_sizes(self, features: Features, tap: Tap, room: int) -> tuple[int, int]:
        """Images of a block of rows and of a tile, which together take about so many bytes; at least one each.

        Half of it for the patches and distances of a block of rows; a quarter for the product of two tiles, and one for
        the patches of a tile, of which there are a few copies while they are aggregated.
        """
        n, n_rows, width = features.rows[tap].shape
        n_patches = n_rows - features.n_prefix
        rows = room // 2 // (4 * n_patches * (width + n))
        tile = min(math.isqrt(room // 4 // (4 * n_patches**2)), room // 4 // (16 * n_patches * width))
        return min(n, max(1, rows)), min(n, max(1, tile))


def partners(n: int, share: float) -> int:
    """How many of the n - 1 other images count: the share of them, rounded down."""
    return int(share * (n - 1))


def fewest(share: float) -> int:
    """The smallest set whose images have a partner each: 5 of 0.3."""
    n = max(2, math.floor(1 / share))
    while not partners(n, share):
        n += 1
    return n


def aggregated(patches_nNC: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """(n,N,C) at unit length: patches of an image standardised together, and averaged over side x side of them.

    Mean and variance are of all patches and channels of the image. What lies beyond the border is 0.
    """
    standard = F.layer_norm(patches_nNC, patches_nNC.shape[1:])
    if side > 1:
        laid_out = standard.transpose(1, 2).unflatten(2, grid)
        standard = F.avg_pool2d(laid_out, side, stride=1, padding=side // 2).flatten(2).transpose(1, 2)
    return l2_normalize(standard)


def _cosines(one_aNC: Tensor, other_bNC: Tensor) -> Tensor:
    """(a,N,b,N) of all patches of some images with all of others."""
    product: Tensor = one_aNC.flatten(0, 1) @ other_bNC.flatten(0, 1).T
    cosines: Tensor = product.unflatten(1, (len(other_bNC), -1)).unflatten(0, (len(one_aNC), -1))
    return cosines


def distance(cosine: Tensor) -> Tensor:
    """Euclidean, of two vectors of unit length."""
    return (2 - 2 * cosine).clamp_min(0).sqrt()


def mean_of_smallest(distances_nN: Tensor, count: int) -> Tensor:
    """(N,): of each patch the mean of its `count` smallest distances to other images."""
    return distances_nN.topk(count, dim=0, largest=False).values.mean(0)


def rescored(scores_n: Tensor, classes_nD: Tensor, windows: Sequence[int]) -> Tensor:
    """(n,) in [0, 1] where class features are at unit length: scores averaged over similar images (RsCIN).

    Scores are scaled to [0, 1] over the set; all are 0 where they are equal. A window k takes the k images with the
    largest inner products of class features, or all where there are fewer, weighted by these products; the result is
    the mean over the windows.
    """
    low, high = scores_n.aminmax()
    span = high - low
    scaled = torch.where(span > 0, (scores_n - low) / span, 0.0)
    alike = classes_nD @ classes_nD.T
    means = []
    for size in windows:
        weights, places = alike.topk(min(size, len(alike)), dim=1)
        means.append((weights * scaled[places]).sum(1) / weights.sum(1))
    return torch.stack(means).mean(0)


def _spans(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    return ((low, min(stop, low + size)) for low in range(start, stop, size))
