"""What `predict` and `calibrate` have in common: what scores photos, and how photos are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from zsad_bench.console import Console, Progress
from zsad_bench.errors import UsageError
from zsad_bench.options import Option
from zsad_bench.path_lists import home
from zsad_bench.types import Domain, Kind

if TYPE_CHECKING:
    from zsad_bench.inspection.inspect import Inspected, Setting
    from zsad_bench.inspection.opening import OpenedScorer
    from zsad_bench.inspection.photos import Photo
    from zsad_bench.inspection.reading import Unread

_OVERLAP, _MOST_OVERLAP = 25, 90  # per cent


@dataclass(frozen=True, kw_only=True)
class ScorerOptions:
    """What scores."""

    method: Annotated[str | None, Option("NAME", "see `zsad-bench ls methods`", names="methods")] = None
    checkpoint: Annotated[str | None, Option("FILE", "of a run: what a method learned")] = None
    onnx: Annotated[str | None, Option("FILE", "of `zsad-bench export onnx`, in place of a method")] = None
    backbone: Annotated[
        str | None, Option("NAME", "default: the papers' where its weights are found, else the tiny one")
    ] = None
    weights: Annotated[str | None, Option("PATH", "a pretrained tag, or a file of weights on this machine")] = None
    precision: Annotated[Literal["float32", "tf32", "bf16"], Option(help="of the frozen towers")] = "float32"
    set: Annotated[tuple[str, ...], Option("KEY=VALUE", "a field of the method's configuration", repeated=True)] = ()
    device: Annotated[Literal["auto", "cpu", "cuda"], Option(help="auto is a GPU where there is one")] = "auto"


@dataclass(frozen=True, kw_only=True)
class PhotoOptions:
    """What the photos show, and what of them counts."""

    name: Annotated[str | None, Option("TEXT", "what the photos show, in the words of a prompt; default: object")] = (
        None
    )
    kind: Annotated[Kind, Option(help="of what they show; few methods look at it")] = "object"
    domain: Annotated[Domain, Option(help="of what they show; few methods look at it")] = "industrial"
    tiles: Annotated[bool, Option(help="score large photos in overlapping tiles, at full resolution")] = False
    tile_size: Annotated[int | None, Option("N", "pixels of a tile's side; default: what the method reads")] = None
    tile_overlap: Annotated[int | None, Option("N", f"per cent of a side; default: {_OVERLAP}", at_least=0)] = None
    roi: Annotated[str | None, Option("MASK", "an image that is white where anomalies count")] = None
    batch_size: Annotated[int, Option("N", "images or tiles at once", at_least=1)] = 8
    workers: Annotated[int | None, Option("N", "processes that read photos; default: by their number", at_least=0)] = (
        None
    )


def open_scorer(options: ScorerOptions, console: Console) -> OpenedScorer:
    """What scores, with its warning printed.

    Raises:
        UsageError: options that exclude each other. ZsadError: from loading.
    """
    from zsad_bench.inspection.opening import (
        choose_method,
        device_of,
        load_method,
        open_method,
        open_onnx,
        require_image_by_image,
        require_learned,
    )
    from zsad_bench.planning.configure import parse_settings

    device = device_of(options.device)
    if options.onnx is not None:
        brought = ("method", "checkpoint", "backbone", "weights", "set")
        extra = [f"--{name}" for name in brought if getattr(options, name)]
        extra += ["--precision"] if options.precision != "float32" else []
        if extra:
            raise UsageError(f"--onnx {options.onnx} brings its method and weights; leave out {', '.join(extra)}")
        opened = open_onnx(home(options.onnx))
    else:
        checkpoint = None if options.checkpoint is None else home(options.checkpoint)
        settings = parse_settings(options.set)
        choice = choose_method(options.method, checkpoint, options.backbone, options.weights, settings)
        require_image_by_image(choice)  # before anything slow is loaded
        require_learned(choice)
        opened = open_method(load_method(choice, options.precision), device)
    if opened.warning:
        console.warn(opened.warning)
    return opened


def setting_of(options: PhotoOptions, opened: OpenedScorer) -> Setting:
    """What decides a score beside the scorer.

    Raises:
        UsageError: options of tiles without --tiles, a tile or a region that cannot be, another name than that of a
            scorer whose texts are fixed. DatasetError: no mask.
    """
    from zsad_bench.data.images import category_of
    from zsad_bench.inspection.inspect import Setting
    from zsad_bench.inspection.region import read_region
    from zsad_bench.inspection.tiles import tiling

    if not options.tiles and (options.tile_size is not None or options.tile_overlap is not None):
        raise UsageError("--tile-size and --tile-overlap go with --tiles; add it")
    category = opened.category or category_of(options.name or "object", options.kind, options.domain)
    of_graph, usual = opened.category, PhotoOptions()
    for option in ("kind", "domain"):
        asked = getattr(options, option)
        if of_graph is not None and asked not in (getattr(usual, option), getattr(of_graph, option)):
            was = getattr(of_graph, option)
            raise UsageError(f"--{option} {asked}: the texts of this graph are of {was}; leave it out, or export again")
    if opened.category is not None and options.name not in (None, opened.category.name):
        raise UsageError(
            f"--name {options.name}: the texts of this graph are of '{opened.category.name}'; leave out --name, or "
            "export it again"
        )
    side = options.tile_size or opened.scorer.image_size
    overlap = _OVERLAP if options.tile_overlap is None else options.tile_overlap
    if overlap > _MOST_OVERLAP:
        raise UsageError(f"--tile-overlap {overlap}: expected 0 to {_MOST_OVERLAP}, in per cent of a side")
    return Setting(
        category,
        tiling(side, overlap / 100) if options.tiles else None,
        read_region(options.roi) if options.roi else None,
    )


@contextmanager
def inspected(
    photos: Sequence[Photo], opened: OpenedScorer, setting: Setting, options: PhotoOptions
) -> Iterator[Iterator[Inspected | Unread]]:
    """The photos, one by one as they are scored, with a bar of progress."""
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

    from zsad_bench.inspection.inspect import inspect

    with Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("photos", total=len(photos))

        def counted() -> Iterator[Inspected | Unread]:
            for item in inspect(photos, opened.scorer, setting, options.batch_size, options.workers):
                bar.advance(task)
                yield item

        yield counted()
