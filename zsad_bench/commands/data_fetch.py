"""Download and unpack a dataset where its licence allows, else say how to get it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

from zsad_bench import registry
from zsad_bench.commands._shared import known_dataset
from zsad_bench.console import Console, Progress
from zsad_bench.data import fetch as downloading
from zsad_bench.data import locations
from zsad_bench.errors import DatasetError, UsageError
from zsad_bench.options import Argument, Option
from zsad_bench.path_lists import home

if TYPE_CHECKING:
    from zsad_bench.data.base import ZeroShotDataModule
    from zsad_bench.data.public import PublicDataModule


@dataclass(frozen=True, kw_only=True)
class Options:
    name: Annotated[str, Argument("NAME", "of the dataset", names="datasets")]
    into: Annotated[str | None, Option("FOLDER", "where to put it; default: under ZSAD_DATA", writes="folder")] = None
    accept_licence: Annotated[bool, Option(help="needed where the licence restricts use")] = False


def run(options: Options) -> int:
    """Downloads a dataset, reads it once, and says what was found.

    Raises:
        DatasetError: it has no direct link (the steps to take are printed), is there already, or could not be
            downloaded, unpacked or read. UsageError: no place to put it, or a licence that was not accepted.
    """
    from zsad_bench.data.demo.module import DemoDataModule
    from zsad_bench.data.public import PublicDataModule

    known_dataset(options.name)
    cls = registry.load("datasets", options.name)
    console = Console()

    def say(line: str) -> None:
        console.print(line)

    if issubclass(cls, DemoDataModule):
        raise UsageError(f"{cls.name} is generated, not downloaded: `zsad-bench data make-demo` does it")
    if not cls.downloads and not issubclass(cls, PublicDataModule):
        raise UsageError(f"{cls.name} has nothing to download: {cls.how_to_get}")
    place = _place(cls, options.into)
    if not cls.downloads:
        for line in by_hand(cls, place):
            say(line)
        raise DatasetError(f"{cls.name} cannot be fetched by a program; take the steps above")
    if place is None:
        raise UsageError(f"{cls.name}: nowhere to put it; set ZSAD_DATA to the folder of your datasets, or give --into")
    if options.into is None and (there := cls.available()) is not None:
        raise DatasetError(f"{cls.name} is there already: {there}; remove it, or give --into another folder")
    say(f"{cls.title}, licence: {cls.licence} ({cls.url})")
    if cls.ask_consent and not options.accept_licence:
        raise UsageError(
            f"{cls.name} is licensed under {cls.licence}, which restricts what you may do with it; if you accept "
            "that, add --accept-licence"
        )
    for entry in _with_progress(cls, place):
        checked = "as expected" if entry.verified else "seen, NOT verified: no hash of this file is published"
        say(entry.url)
        say(f"  {entry.size:,} bytes, sha256 {entry.sha256} ({checked})")
    say(f"{cls.name} lies in {place}")
    data = cls(root=place)
    labels = [sample.label for sample in data.samples()]
    say(f"{labels.count(0)} normal and {labels.count(1)} anomalous test images")
    for note in data.notes:
        say(note)
    return 0


def by_hand(cls: type[PublicDataModule], place: Path | None) -> list[str]:
    """The steps that make the dataset lie in `place`, one line each."""
    target = place or Path("$ZSAD_DATA") / (cls.root_names or (cls.name,))[0]
    there = cls.available()
    return [
        f"{cls.title} has no direct link that a program may use. By hand:",
        *([f"   (it is there already: {there})"] if there else []),
        f"1. home page: {cls.url}",
        f"2. {cls.how_to_get}",
        f"3. {'without that package, ' if 'packaged' in vars(cls) else ''}the folder {target} must then hold "
        f"{_looks_like(cls)}",
        f"4. `zsad-bench data check {cls.name}` says whether it is complete",
        f"licence: {cls.licence}",
    ]


def _looks_like(cls: type[PublicDataModule]) -> str:
    if not cls.raw_is_mvtec_style:
        return cls.raw_looks_like
    category = cls.category_cards[0].name
    return f"{category}/test/{cls.normal_folders[0]}/, {category}/ground_truth/, …"


def _place(cls: type[ZeroShotDataModule], into: str | None) -> Path | None:
    if into is not None:
        return home(into).resolve()
    root = locations.data_root()
    return None if root is None else root / (cls.root_names or (cls.name,))[0]


def _with_progress(cls: type[ZeroShotDataModule], place: Path) -> list[downloading.Fetched]:
    with Progress(BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()) as progress:
        task = progress.add_task("connecting", total=None)

        def report(what: str, done: int, total: int | None) -> None:
            progress.update(task, description=what, completed=done, total=total)

        return downloading.fetch(cls.name, cls.downloads, place, cls.root_names, cls.licence, report)
