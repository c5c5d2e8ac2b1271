"""Whether masks are as large as their images, from the headers alone, before training instead of after it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from zsad_bench.data import decode, loaders, transforms
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.errors import DatasetError


def check(module: ZeroShotDataModule) -> list[str]:
    """One line per mask that has another size than its image, where so few have that they are resized.

    Files whose header cannot be read are an error, or passed over where `on_bad_image` is skip.

    Raises:
        DatasetError: more than 1 % of the masks in use have another size, or any where none may, or one has that of
            its image before that was turned upright.
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
    of_image, of_mask = module.root / image, module.root / mask
    try:
        shown, its = (_size(path, is_mask, _changed(path)) for is_mask, path in enumerate((of_image, of_mask)))
        if its == shown:
            return ""
        stored = decode.stored_size_of(of_image)
    except decode.UnreadableError:
        if module.on_bad_image == "skip":
            return ""
        raise
    transforms.require_one_geometry(of_mask, its, shown, stored)
    return f"mask {of_mask} is {_wide(its)} but its image {image} is {_wide(shown)}"


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns


@lru_cache(maxsize=100_000)
def _size(path: Path, is_mask: int, changed: int) -> tuple[int, int]:
    """From the header, upright; changed: a file that was replaced is looked at again."""
    return decode.size_of(path, bool(is_mask))


def _wide(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} (width x height)"
