"""Draw some images of each category, the outlines of their masks on them."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from PIL import Image

from zsad_bench import registry
from zsad_bench.atomic import file_name, whole_file
from zsad_bench.commands._shared import Partial, known_dataset
from zsad_bench.console import Console
from zsad_bench.data import contact_sheet, decode, locations, transforms
from zsad_bench.errors import DatasetError, UsageError
from zsad_bench.options import Argument, Option
from zsad_bench.path_lists import home
from zsad_bench.planning.target import categories_of, target_of
from zsad_bench.types import Sample

if TYPE_CHECKING:
    from zsad_bench.data.base import ZeroShotDataModule

USUAL, MOST = 3, 12  # images per label and category


@dataclass(frozen=True, kw_only=True)
class Options:
    name: Annotated[
        str,
        Argument(
            "NAME[:CATEGORY]", "also folder:PATH and csv:FILE, and any of them corrupted: NAME@jpeg:3", names="datasets"
        ),
    ]
    out: Annotated[
        str | None,
        # not in the current folder, so that no pixels land in a repository by accident
        Option("FILE.png", "default: NAME.png in the cache folder", writes="file"),
    ] = None
    partial: Partial = False
    per_category: Annotated[int, Option("N", "normal, and as many anomalous images")] = USUAL
    root: Annotated[str | None, Option("FOLDER", "of the dataset")] = None


def run(options: Options) -> int:
    """Writes the contact sheet and says where.

    Raises:
        DatasetError: not found or unreadable, or the file cannot be written. UsageError: a bad option.
    """
    count = options.per_category
    if not 1 <= count <= MOST:
        raise UsageError(f"--per-category {count}: expected a number from 1 to {MOST}")
    known_dataset(options.name)
    dataset, place, _, condition = target = target_of(options.name)
    if place and options.root is not None:
        raise UsageError(f"data samples {options.name} --root {options.root}: give the path once")
    cls = registry.load("datasets", dataset)
    called = target.name + (f"@{condition}" if condition else "")
    usual = locations.cache_root() / "samples" / f"{file_name(called)}.png"
    out = usual if options.out is None else home(options.out)
    require_png(out, f"--out {options.out}")
    data = cls(place or options.root or None, partial=options.partial, condition=condition)
    picture = draw(data, count, categories_of(options.name, data))
    console = Console()
    for note in dict.fromkeys(data.notes):
        console.print(note, style="yellow")
    write(picture, out, "--out", data, console)
    return 0


def require_png(out: Path, typed: str) -> None:
    """Nothing, where the name is that of a PNG.

    Raises:
        UsageError: it is not; typed: the option with its value.
    """
    if out.suffix.lower() != ".png":
        raise UsageError(f"{typed}: expected a file that ends in .png")


def write(picture: Image.Image, out: Path, option: str, data: ZeroShotDataModule, console: Console) -> None:
    """Writes a contact sheet of a dataset and prints where, and what its licence asks.

    Raises:
        DatasetError: the file cannot be written.
    """
    try:
        with whole_file(out) as file:
            picture.save(file, format="PNG")
    except OSError as error:
        raise DatasetError(f"cannot write {out} ({error.strerror or error}); give {option} another file") from None
    console.print(f"{out} ({picture.width} x {picture.height})")
    cls = type(data)
    if not cls.redistribute and cls.url:
        console.print(f"its pixels are under {cls.title}'s licence ({cls.licence}): not to be published or committed")


def draw(
    data: ZeroShotDataModule, per_category: int, only: Collection[str] | None = None, prior: str = ""
) -> Image.Image:
    """The contact sheet of a dataset, or of some of its categories: the same images whenever the dataset is the same.

    only: names of categories; None is all. prior: that kept these images, for the title.
    """
    table = data.samples()
    chosen = contact_sheet.choose(table, per_category)
    labels = [sample.label for sample in table]
    splits = " and ".join(dict.fromkeys(sample.split for sample in table))
    rows = []
    for category in data.categories():
        if only is not None and category.name not in only:
            continue
        sides = [[_cell(data, sample) for sample in side] for side in chosen[category.name]]
        rows.append(contact_sheet.Row(_label(category.name, category.prompt_name), *sides))
    masks = "the outline is the mask" if data.has_masks else "image level only: no masks"
    return contact_sheet.sheet(
        ", ".join(filter(None, (data.title, data.condition and data.condition.words, prior and f"prior {prior}"))),
        f"{splits} split, {labels.count(0)} normal and {labels.count(1)} anomalous images; {masks}; {data.licence}",
        rows,
    )


def _cell(data: ZeroShotDataModule, sample: Sample) -> contact_sheet.Cell:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large photographs are not an attack
        image, stored, *_ = decode.read_image(data.root / sample.image, whole=False)
        mask = None
        if data.has_masks and sample.masks:
            paths = [data.root / path for path in sample.masks]
            mask = transforms.open_masks(paths, data.mask_threshold, image.size, stored).union
    if sample.crop is not None:
        image = image.crop(sample.crop)
        mask = None if mask is None else mask.crop(sample.crop)
    if sample.generated:
        from zsad_bench.data import loaders

        image, mask = loaders.painted(data.painter, image, sample)
    if (corruptor := data.corruptor) is not None:
        from zsad_bench.data import loaders

        image, mask = loaders.changed(corruptor, image, mask, data.info(sample).id)
    file = Path(sample.id).name.removesuffix(f"#{sample.anomaly_type}" if sample.generated else "")
    return contact_sheet.cell(image, mask, (sample.anomaly_type, file) if sample.label else (file,))


def _label(name: str, prompt_name: str) -> str:
    return name if name.replace("_", " ") == prompt_name else f"{name} ({prompt_name})"
