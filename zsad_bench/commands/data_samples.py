"""`zsad-bench data samples`: a contact sheet of a dataset, to see whether images and masks are what one thinks."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

from PIL import Image

from zsad_bench import registry
from zsad_bench.atomic import file_name, whole_file
from zsad_bench.console import Console
from zsad_bench.data import contact_sheet, decode, locations, transforms
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.errors import DatasetError, UsageError
from zsad_bench.path_lists import home
from zsad_bench.planning.target import categories_of, target_of
from zsad_bench.types import Sample

USUAL, MOST = 3, 12  # images of a label a category


def samples(options: Any) -> None:
    """Writes the contact sheet of `options.name` and says where.

    options.out: the PNG file; None is one in the cache folder, so that no pixels land in a repository by accident.
    options.per_category: how many normal and how many anomalous images of a category are shown.

    Raises:
        DatasetError: not found or unreadable, or the file cannot be written. UsageError: a bad option.
    """
    count = getattr(options, "per_category", USUAL)
    if not 1 <= count <= MOST:
        raise UsageError(f"--per-category {count}: expected a number from 1 to {MOST}")
    dataset, place, _ = target = target_of(options.name)
    root = getattr(options, "root", None)
    if place and root is not None:
        raise UsageError(f"data samples {options.name} --root {root}: give the path once")
    cls = registry.load("datasets", dataset)
    usual = locations.cache_root() / "samples" / f"{file_name(target.name)}.png"
    out = usual if options.out is None else home(options.out)
    if out.suffix.lower() != ".png":
        raise UsageError(f"--out {options.out}: expected a file that ends in .png")
    data = cls(place or root or None, partial=getattr(options, "partial", False))
    picture = draw(data, count, categories_of(options.name, data))
    try:
        with whole_file(out) as file:
            picture.save(file, format="PNG")
    except OSError as error:
        raise DatasetError(f"cannot write {out} ({error.strerror or error}); give --out another file") from None
    console = Console()
    for note in dict.fromkeys(data.notes):
        console.print(note, style="yellow")
    console.print(f"{out} ({picture.width} x {picture.height})")
    if not cls.redistribute and cls.url:
        console.print(f"its pixels are under {cls.title}'s licence ({cls.licence}): not to be published or committed")


def draw(data: ZeroShotDataModule, per_category: int, only: Collection[str] | None = None) -> Image.Image:
    """The contact sheet of a dataset, or of some of its categories: the same images whenever the dataset is the same.

    only: names of categories; None is all.
    """
    table = data.samples()
    chosen = contact_sheet.choose(table, per_category)
    labels = [sample.label for sample in table]
    rows = []
    for category in data.categories():
        if only is not None and category.name not in only:
            continue
        sides = [[_cell(data, sample) for sample in side] for side in chosen[category.name]]
        rows.append(contact_sheet.Row(_label(category.name, category.prompt_name), *sides))
    masks = "the outline is the mask" if data.has_masks else "image level only: no masks"
    return contact_sheet.sheet(
        data.title,
        f"{data.split} split, {labels.count(0)} normal and {labels.count(1)} anomalous images; {masks}; {data.licence}",
        rows,
    )


def _cell(data: ZeroShotDataModule, sample: Sample) -> contact_sheet.Cell:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large photographs are no attack
        image, stored, *_ = decode.read_image(data.root / sample.image, whole=False)
        mask = None
        if data.has_masks and sample.masks:
            paths = [data.root / path for path in sample.masks]
            mask = transforms.open_masks(paths, data.mask_threshold, image.size, stored).union
    if sample.crop is not None:
        image = image.crop(sample.crop)
        mask = None if mask is None else mask.crop(sample.crop)
    file = Path(sample.id).name
    return contact_sheet.cell(image, mask, (sample.anomaly_type, file) if sample.label else (file,))


def _label(name: str, prompt_name: str) -> str:
    return name if name.replace("_", " ") == prompt_name else f"{name} ({prompt_name})"
