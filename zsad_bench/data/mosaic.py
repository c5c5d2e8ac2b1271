"""Mosaics for training: four images of one category as one, two by two, and their masks alike.

The augmentation of APRIL-GAN's released training (ByChelsea/VAND-APRIL-GAN, MIT), which AdaCLIP and FiLo took over. As
there, each of the four is drawn anew, its anomaly type first, so that normal images have the share of one type; an
image may come twice. Drawn is among the samples of the table alone: what a prior left out is never seen.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Sequence

from PIL import Image

from zsad_bench.types import Sample

PARTS = 4


class Mosaics:
    """Which samples are replaced by a mosaic, and by one of what.

    share: of the samples, in [0, 1]. What is drawn depends on the seed and on the `key` of a call alone: the same in
    any worker process. Give each image of each epoch a key of its own.
    """

    def __init__(self, samples: Sequence[Sample], share: float, seed: int) -> None:
        self.share, self.seed = share, seed
        # Category -> its anomaly types in order -> the samples of a type.
        self.of: dict[str, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
        for sample in samples:
            self.of[sample.category][sample.anomaly_type].append(sample)
        self.of = {category: {t: by_type[t] for t in sorted(by_type)} for category, by_type in self.of.items()}

    def parts(self, sample: Sample, key: str) -> list[Sample]:
        """Four samples of the sample's category where a mosaic takes its place, row by row; else []."""
        digest = hashlib.sha256(f"{self.seed}|mosaic|{key}".encode(errors="surrogateescape")).digest()
        draw = random.Random(int.from_bytes(digest[:8]))
        if draw.random() >= self.share:
            return []
        by_type = list(self.of[sample.category].values())
        return [draw.choice(draw.choice(by_type)) for _ in range(PARTS)]


def tiled(images: Sequence[Image.Image], masks: Sequence[Image.Image | None]) -> tuple[Image.Image, Image.Image | None]:
    """Four images as one of twice the first one's width and height, and their masks (mode L) as one.

    An image of another size than the first is brought to it, bicubic, and its mask by nearest neighbour. Masks that
    are None mark nothing; the mask of four such is None.
    """
    width, height = images[0].size
    image = Image.new("RGB", (2 * width, 2 * height))
    mask = Image.new("L", image.size)
    for place, (part, marks) in enumerate(zip(images, masks, strict=True)):
        corner = (place % 2 * width, place // 2 * height)
        image.paste(_sized(part, (width, height), Image.Resampling.BICUBIC), corner)
        if marks is not None:
            mask.paste(_sized(marks, (width, height), Image.Resampling.NEAREST), corner)
    return image, None if all(marks is None for marks in masks) else mask


def _sized(image: Image.Image, size: tuple[int, int], how: Image.Resampling) -> Image.Image:
    return image if image.size == size else image.resize(size, how)
