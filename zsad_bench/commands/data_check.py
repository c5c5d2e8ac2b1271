"""Open every file of a dataset and say what is wrong.

Exit code 0 is clean, 1 findings, 2 not a dataset.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from rich.progress import BarColumn, MofNCompleteColumn
from rich.text import Text

from zsad_bench import registry
from zsad_bench.commands._shared import known_dataset
from zsad_bench.console import Console, Progress, styled
from zsad_bench.data import catalog, locations
from zsad_bench.data.layouts import Layout
from zsad_bench.errors import DatasetError, DatasetLayoutError, UsageError
from zsad_bench.options import Argument, Option
from zsad_bench.path_lists import home
from zsad_bench.planning.suite import is_found
from zsad_bench.planning.target import target_of
from zsad_bench.printable import printable

if TYPE_CHECKING:
    from zsad_bench.data import check as checks
    from zsad_bench.data.base import ZeroShotDataModule

SCHEMA = 1  # of the JSON form, docs/datasets.md
_SHOWN = 5  # findings of a kind, and sizes; the rest is counted, and whole in the JSON form


@dataclass(frozen=True, kw_only=True)
class Options:
    name: Annotated[
        str, Argument("NAME|all", "also folder:PATH and csv:FILE; all: those that are found", names="datasets")
    ]
    root: Annotated[
        str | None, Option("FOLDER", "of the dataset; with all, the folder that holds them (ZSAD_DATA)")
    ] = None
    layout: Annotated[Layout | None, Option(help="instead of the one that is detected", what="layout")] = None
    json: Annotated[bool, Option(help="one JSON object per dataset, a line each, see docs/datasets.md")] = False


def run(options: Options) -> int:
    """Checks one dataset or all that are found; returns the exit code.

    Raises:
        UsageError: wrong names or options. DatasetError: ZSAD_DATA or `all --root` is not a folder.
    """
    if options.name == "all":
        if options.layout:
            raise UsageError("data check all --layout: each dataset has its own layout; name one dataset")
        with _data_root(options.root):
            return _check_all(options)
    known_dataset(options.name)
    report = _report(options.name, options.root, options.layout)
    _say(report, options.json, Console())
    return report.exit_code


def _check_all(options: Options) -> int:
    """Missing datasets do not count, unless all are missing."""
    console, under = Console(), locations.data_root()
    codes: list[int] = []
    absent: list[str] = []
    verdicts: Counter[str] = Counter()
    for cls in catalog.real():
        module = cls()
        place = module.locate() if is_found(cls.name) else None
        # With --root, a copy elsewhere (an installed package) is not what was asked about.
        if place is None or (options.root and under and not place.is_relative_to(under)):
            absent.append(cls.name)
            continue
        report = _report(cls.name, str(place), None)
        _say(report, options.json, console)
        codes.append(report.exit_code)
        verdicts[report.verdict] += 1
    if not options.json:
        said = ", ".join(f"{count} {verdict.replace('_', ' ')}" for verdict, count in verdicts.items()) or "none found"
        console.print(f"{said}; not found: {', '.join(absent) or 'none'}")
    return max(codes, default=2)


@contextmanager
def _data_root(root: str | None) -> Iterator[None]:
    """ZSAD_DATA set to `root` for the while."""
    before = os.environ.get("ZSAD_DATA")
    if root is not None:
        if not home(root).is_dir():
            raise DatasetError(f"--root {root} is not a folder; give the folder that holds the datasets")
        os.environ["ZSAD_DATA"] = root
    try:
        yield
    finally:
        if before is not None:
            os.environ["ZSAD_DATA"] = before
        elif root is not None:
            del os.environ["ZSAD_DATA"]


def _report(asked: str, root: str | None, layout: Layout | None) -> checks.Report:
    from zsad_bench.data import check as checks
    from zsad_bench.data.public import PublicDataModule

    name, path, categories, condition = target_of(asked)
    if condition:
        raise UsageError(
            f"data check {asked}: files are checked, and no condition changes them; leave out @{condition}"
        )
    if categories:
        raise UsageError(f"data check {asked}: data check takes whole datasets; leave out :{'+'.join(categories)}")
    cls: type[ZeroShotDataModule] = registry.load("datasets", name)
    if path and root:
        raise UsageError(f"data check {asked} --root {root}: give the path once")
    if layout and not issubclass(cls, PublicDataModule):
        raise UsageError(f"data check {asked} --layout {layout}: {name} has one layout; leave it out")
    place = path or root or None
    try:
        module = cls(place, layout=layout) if issubclass(cls, PublicDataModule) else cls(place)
    except DatasetError as error:  # what a root alone defines is read when it is built
        unbuilt = checks.Report(cls.name, cls.title, "clean")
        if not home(place or "").exists():
            return checks.failed(unbuilt, "not_found", error)
        return checks.failed(unbuilt, "not_recognised" if isinstance(error, DatasetLayoutError) else "broken", error)
    with Progress(BarColumn(), MofNCompleteColumn()) as bar:
        task = bar.add_task(f"{asked}: opening files", total=None)
        return checks.check(module, progress=lambda done, total: bar.update(task, completed=done, total=total))


def _say(report: checks.Report, as_json: bool, console: Console) -> None:
    if as_json:
        print(json.dumps(as_object(report)), flush=True)
        return
    for line in lines(report):
        console.print(line, soft_wrap=True)
    console.print()


def as_object(report: checks.Report) -> dict[str, object]:
    """The JSON form of a report; its fields are a promise (docs/datasets.md), so they are written out here."""
    expected = report.expected
    return {
        "schema": SCHEMA,
        "dataset": report.dataset,
        "title": report.title,
        "verdict": report.verdict,
        "exit_code": report.exit_code,
        "root": None if report.root is None else str(report.root),
        "layout": report.layout,
        "variant": report.variant,
        "manifest_hash": report.manifest_hash,
        "normal": report.normal,
        "anomalous": report.anomalous,
        "expected": None if expected is None else expected._asdict(),
        "categories": {name: {"normal": n, "anomalous": a} for name, (n, a) in report.categories.items()},
        "images": report.images,
        "masks": report.masks,
        "unmasked": report.unmasked,
        "image_bytes": report.bytes,
        "sizes": report.sizes,
        "modes": report.modes,
        "formats": report.formats,
        "duplicates": report.duplicates,
        "large": report.large,
        "findings": [finding._asdict() for finding in report.findings],
        "notes": list(report.notes),
    }


def lines(report: checks.Report) -> Iterator[str | Text]:
    """The report for a person."""
    colour = "green" if report.exit_code == 0 else "red"
    verdict = styled(report.verdict.replace("_", " "), f"not bold {colour}")
    yield styled(report.dataset, "bold").append(": ", "not bold").append(verdict)
    if report.root is not None and (expected := report.expected) is not None:
        shape = f"layout {report.layout}, variant {report.variant}" if report.layout else "a layout of its own"
        yield f"  {report.root}, {shape}"
        yield (
            f"  {report.normal} normal, {report.anomalous} anomalous; expected {', '.join(expected.shown)} "
            f"(evidence {expected.evidence})"
        )
        size = f"{report.bytes / 1e6:.1f} MB"
        yield (
            f"  {report.images} images ({size}), {report.duplicates} duplicates; {report.masks} masks, "
            f"{report.unmasked} anomalous images lack one"
        )
        yield f"  sizes {_most(report.sizes)}; modes {_most(report.modes)}; formats {_most(report.formats)}"
        yield f"  manifest hash {report.manifest_hash or '– (the table cannot be used as it is)'}"
    kinds = Counter(finding.kind for finding in report.findings)
    for kind, count in kinds.items():
        yield styled(f"  {kind.replace('_', ' ')}: {count}", "red")
        messages = [finding.message for finding in report.findings if finding.kind == kind]
        yield from (f"    {message}" for message in messages[:_SHOWN])
        if count > _SHOWN:
            yield f"    … and {count - _SHOWN} more; --json lists all"
    for note in report.notes:
        yield styled("  note", "yellow").append(f" {printable(note)}", "default")


def _most(counts: dict[str, int]) -> str:
    shown = ", ".join(f"{name} ({count})" for name, count in list(counts.items())[:_SHOWN])
    rest = len(counts) - _SHOWN
    return (shown or "–") + (f" and {rest} others" if rest > 0 else "")
