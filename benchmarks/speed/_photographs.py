"""Generated photographs on disk, as a data set and as the plainest script reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from zsad_bench.backbones.base import Backbone
    from zsad_bench.data.base import ZeroShotDataModule
    from zsad_bench.types import Sample


def data_of(folder: Path, backbone: Backbone, size: int, count: int, workers: int = 0) -> ZeroShotDataModule:
    """The first `count` photographs of a folder that `check.write` filled, half of them anomalous, in batches of 8."""
    from zsad_bench import registry

    cls = registry.load("datasets", "folder")
    samples = sorted(cls(folder).samples(), key=lambda sample: Path(sample.image).stem)[:count]
    options = {"image_size": size, "batch_size": 8, "workers": workers, "samples": samples}
    module: ZeroShotDataModule = cls(folder, mean=backbone.mean, std=backbone.std, **options)
    return module


def read_plainly(data: ZeroShotDataModule, device: str) -> Iterator[tuple[Sample, Tensor, NDArray]]:
    """One by one: the sample, its image (1,3,S,S) normalised on the device, and its mask (S,S) bool."""
    import torch
    from PIL import Image

    side = (data.image_size, data.image_size)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (data.mean, data.std))
    for sample in data.samples():
        picture = Image.open(data.root / sample.image).convert("RGB").resize(side, Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).astype(np.float32) / 255)
        mask = np.zeros(side, bool)
        for path in sample.masks:
            opened = Image.open(data.root / path).convert("L").resize(side, Image.Resampling.BILINEAR)
            mask |= np.asarray(opened) > 127
        yield sample, ((pixels - mean) / std)[None].to(device), mask
