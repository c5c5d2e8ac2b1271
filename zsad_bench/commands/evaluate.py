"""Metrics of anomaly maps and scores that any program saved, as rows marked external.

MAPS_DIR has one file per test image (NPY, NPZ, safetensors, TIFF, PNG of 8 or 16 bits), named as the image below the
dataset's folder. Values stay as they are; higher is more anomalous. docs/evaluate.md says what is checked and refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from zsad_bench import quick_imports
from zsad_bench.commands._shared import DataSettings, Partial, data_options, known_dataset, say_licences
from zsad_bench.console import Console
from zsad_bench.errors import UsageError
from zsad_bench.options import Argument, Option
from zsad_bench.planning import suite
from zsad_bench.planning.target import categories_of, distinct, with_named_root
from zsad_bench.printable import is_utf8

if TYPE_CHECKING:
    from zsad_bench.planning.suite import Suite
    from zsad_bench.runner.external_survey import Handed, Surveyed


@dataclass(frozen=True, kw_only=True)
class Options:
    maps: Annotated[str | None, Argument("MAPS_DIR", "a folder of maps; without one, --scores alone is evaluated")] = (
        None
    )
    dataset: Annotated[str, Option("NAME[:CATEGORY]", "whose images they are of; also folder:PATH and csv:FILE")]
    scores: Annotated[
        str | None, Option("CSV", "with the columns id (or path) and score; default: the maxima of the maps")
    ] = None
    name: Annotated[str | None, Option("TEXT", "of the method, as tables print it; default: that of MAPS_DIR")] = None
    by: Annotated[str, Option("TEXT", "who says so: a person, a paper, an address; kept beside the rows")] = ""
    prior: Annotated[str, Option("TEXT", "what the method learned from, as it is told; none: nothing")] = "unknown"
    seed: Annotated[int, Option("N", "of its training; several seeds under one name are averaged", at_least=0)] = 0
    transductive: Annotated[
        bool, Option(help="it saw all test images of a category before it scored one; numbers are marked")
    ] = False
    on_missing: Annotated[
        Literal["stop", "skip"], Option(help="images without a map or a score; skip counts what it leaves out")
    ] = "stop"
    image_size: Annotated[
        int | None, Option("N", "of the masks, to which other maps are resized; default: the suite's", at_least=1)
    ] = None
    suite: Annotated[str, Option("auto|demo|paper", "whose leaderboard the rows go to")] = "auto"
    data: DataSettings = ()
    partial: Partial = False
    out: Annotated[str, Option("FOLDER", "where <suite>/rows and tables go", writes="folder")] = "leaderboards"


def run(options: Options) -> int:
    """Evaluates, writes rows and tables, prints the tables; 0.

    Raises:
        ZsadError: wrong names or options, or files that cannot be used; nothing is written then.
    """
    known_dataset(options.dataset)
    targets = distinct([options.dataset])
    handed = _handed(options)
    data = with_named_root(data_options(options.data, options.partial), targets)
    quick_imports.load()
    console = Console()
    chosen, why = suite.choose(options.suite)
    if why:
        console.print(why)
    _evaluate(options, targets[0], handed, data, chosen, console)
    return 0


def _handed(options: Options) -> Handed:
    """What is handed in, as far as words say it.

    Raises:
        UsageError: neither maps nor scores, or a name that no table can hold.
    """
    from zsad_bench.path_lists import home
    from zsad_bench.runner.external_survey import Handed

    maps, scores = (None if text is None else home(text) for text in (options.maps, options.scores))
    if maps is None and scores is None:
        raise UsageError("evaluate: nothing to evaluate; name a folder of maps, --scores FILE, or both")
    name = (maps or scores or Path()).absolute().name if options.name is None else options.name
    for option, text, most in (("--name", name, 80), ("--prior", options.prior, 80), ("--by", options.by, 400)):
        is_line = text.isprintable() and is_utf8(text) and len(text) <= most
        if not is_line or not (text.strip() or option == "--by"):
            raise UsageError(f"evaluate {option} {text!r}: expected one line of 1 to {most} letters")
    return Handed(
        maps, scores, name.strip(), options.by.strip(), options.prior.strip(), options.seed,
        options.transductive, options.on_missing == "skip",
    )  # fmt: skip


def _evaluate(
    options: Options,
    asked: str,
    handed: Handed,
    settings: dict[str, dict[str, object]],
    chosen: Suite,
    console: Console,
) -> None:
    from zsad_bench.commands import table
    from zsad_bench.data import mask_sizes
    from zsad_bench.data.transforms import CLIP_MEAN, CLIP_STD
    from zsad_bench.results import rows as store
    from zsad_bench.results.external_maps import external_path
    from zsad_bench.runner import external
    from zsad_bench.runner.external_survey import survey
    from zsad_bench.runner.opened import data_module
    from zsad_bench.types import Normalisation

    looks = Normalisation(CLIP_MEAN, CLIP_STD)  # of pictures alone: no network reads these images
    whole = data_module(asked, settings, looks)
    mask_sizes.check(whole)
    categories = categories_of(asked, whole)
    say_licences([asked], console)
    for note in whole.notes:
        console.print(note, style="yellow")
    surveyed = survey(handed, whole, categories)
    for line in surveyed.lines:
        console.print(line, style="yellow")
    size = options.image_size or chosen.overrides.get("*", {}).get("image_size", 518)
    part = data_module(asked, settings, looks, {"samples": surveyed.samples})
    part.image_size = size
    board = Path(options.out) / chosen.name
    store.try_append(store.file_of(board, handed.method))
    console.print(_summary(surveyed, size))
    for line in _remarks(surveyed, size, whole.has_masks):
        console.print(line, style="yellow")
    rows = external.evaluate(surveyed, whole, part, chosen.name, board, console)
    table.show(rows, chosen, console)
    table.regenerate(chosen.name, options.out)
    if line := external.inverted(rows):
        console.print(line, style="yellow")
    console.print(f"tables: {board / 'README.md'}")
    console.print(f"rows: {store.file_of(board, handed.method)}")
    console.print(f"what the maps are: {external_path(board, rows[0].key)}")


def _summary(surveyed: Surveyed, size: int) -> str:
    """What is evaluated, in a line."""
    facts = list(surveyed.facts.values())
    parts = [f"{surveyed.handed.name}: {len(surveyed.samples)} images"]
    if facts:
        kinds = ", ".join(sorted({one.kind for one in facts}))
        low, high = min(one.low for one in facts), max(one.high for one in facts)
        parts.append(f"maps {kinds}, values {low:.6g} to {high:.6g}, evaluated at {size} x {size}")
    parts.append("scores from the maxima of the maps" if surveyed.scores is None else "scores as given")
    return "; ".join(parts)


def _remarks(surveyed: Surveyed, size: int, has_masks: bool) -> list[str]:
    """What is done to the maps, or not done with them, one line each."""
    from zsad_bench.runner.external import common_size, n_resized

    lines = []
    if surveyed.facts and not has_masks:
        what = "scores" if surveyed.scores is None else "nothing, as there are scores"
        return [f"the dataset has no masks: of its maps come {what}"]
    if surveyed.handed.maps is None and has_masks:
        lines.append("without maps there are image metrics alone")
    if (count := n_resized(surveyed, size)) and surveyed.facts:
        side = common_size(surveyed)
        own = f"; --image-size {side} evaluates at their own size" if side else ""
        lines.append(f"{count} of {len(surveyed.facts)} maps are resized to {size} x {size} (bilinear){own}")
    if surveyed.double:
        lines.append("maps hold numbers that float32 does not tell apart: ranked in float64, and no pictures are kept")
    return lines
