"""Whether masks are as large as their images, from the headers alone: told before training instead of after it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from zsad_bench.data import crops, loaders, transforms
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.errors import DatasetError


def check(module: ZeroShotDataModule) -> list[str]:
    """One line a mask that has another size than its image, where so few have that they are resized.

    Files whose header cannot be read are an error, or passed over where `on_bad_image` is skip.

    Raises:
        DatasetError: more than 1 % of the masks in use have another size, or any where none may.
    """
    if not module.has_masks:
        return []
    pairs = [(sample.image, mask) for sample in module.samples() for mask in sample.masks]
    lines = [line for image, mask in pairs if (line := _differs(module, image, mask))]
    if lines and (module.strict_mask_size or len(lines) > loaders.MOST_RESIZED * len(pairs)):
        raise DatasetError(
            f"{module.name}: {lines[0]}; {len(lines)} of {len(pairs)} masks have another size than their images: "
            "restore the files or fetch the dataset again"
        )
    return lines


def _differs(module: ZeroShotDataModule, image: str, mask: str) -> str:
    try:
        of_image, of_mask = (_size(path, path.stat().st_mtime_ns) for path in (module.root / image, module.root / mask))
    except transforms.UnreadableError:
        if module.on_bad_image == "skip":
            return ""
        raise
    if of_image == of_mask:
        return ""
    return f"mask {module.root / mask} is {_wide(of_mask)} but its image {image} is {_wide(of_image)}"


@lru_cache(maxsize=100_000)
def _size(path: Path, changed: int) -> tuple[int, int]:
    """From the header, upright; changed: a file that was replaced is looked at again."""
    return crops.size_of(path)


def _wide(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} (width x height)"
