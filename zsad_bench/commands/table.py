"""The leaderboard of a suite again, from its rows."""

from __future__ import annotations

import pkgutil
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from zsad_bench import commands, registry
from zsad_bench.commands._row_selection import footnotes, unverified_methods
from zsad_bench.commands._shared import check_name
from zsad_bench.console import Console
from zsad_bench.errors import UnknownNameError
from zsad_bench.leaderboard.tables.leaderboard_files import print_tables, write_leaderboard
from zsad_bench.leaderboard.tables.leaderboard_tables import LeaderboardLayout
from zsad_bench.options import Argument, Option
from zsad_bench.planning.suite import DEMO, SUITES, Suite
from zsad_bench.printable import say
from zsad_bench.results.rows import Row, RowWarning

GENERATED_NOTE = (
    "Generated images, read by a tiny CLIP that was pretrained on other generated classes with masks of their defects: "
    "these numbers are comparable with each other, never with a paper's."
)
APART_NOTE = (
    "{images} read by the same tiny CLIP: in no mean with generated images, and not comparable with a paper's numbers."
)
ASIDE_NOTE = (
    "Generated images of auxiliary or held-back classes: in no mean with the targets, and never comparable with a "
    "paper's numbers."
)
OWN_NOTE = "Images of the user's own, in no mean with others."
PAPER_NOTE = "Image AP is scikit-learn's average precision with the anomalous class positive; AUPRO is exact."


@dataclass(frozen=True, kw_only=True)
class Options:
    suite: Annotated[str, Argument("SUITE", "demo or paper")]
    out: Annotated[str, Option("FOLDER", "that holds <suite>/rows", writes="folder")] = "leaderboards"


def run(options: Options) -> int:
    """Writes the leaderboard where its rows are.

    Raises:
        UnknownNameError: no such suite; a command of tables may have been meant. RowError: as `regenerate`.
    """
    files = [file.name for file in pkgutil.iter_modules(commands.__path__) if file.name.startswith("table_")]
    check_name("suite", options.suite, [*SUITES, *(name.removeprefix("table_").replace("_", "-") for name in files)])
    regenerate(options.suite, options.out)
    return 0


def layout(suite: Suite) -> LeaderboardLayout:
    """How the leaderboard of a suite looks."""
    from zsad_bench.metrics.functional.rcpro import described

    titles = {entry.name: entry.title for room in ("methods", "datasets") for entry in registry.describe(room)}
    demo = suite.name == DEMO.name  # under its protocol, too
    return LeaderboardLayout(
        suite=suite.name,
        command=f"zsad-bench table {suite.name}",
        groups={name: titles[name].removeprefix("Demo ").capitalize() for name in suite.generated},
        titles=titles,
        note=GENERATED_NOTE if demo else PAPER_NOTE,
        apart_note=APART_NOTE.format(images="Other images") if demo else PAPER_NOTE,
        apart_notes=_apart(titles) if demo else {},
        footnotes=footnotes(titles),
        metric_notes={"pixel_rcpro": described()},
        sanity=tuple(name for name, cls in registry.classes("methods").items() if cls.is_sanity_check),
        absent=suite.absent,
        unverified=unverified_methods(),
    )


def _apart(titles: Mapping[str, str]) -> dict[str, str]:
    """What stands under the table of each dataset that is in no mean: it follows from what the dataset is."""
    from zsad_bench.data.demo.suite import PARTS

    notes = {}
    for name in registry.names("datasets"):
        images = getattr(registry.load("datasets", name), "images_are", "") or f"Images of {titles[name]}"
        notes[name] = APART_NOTE.format(images=images)
    notes |= dict.fromkeys(PARTS, ASIDE_NOTE)
    return notes | dict.fromkeys(("folder", "csv"), OWN_NOTE)


def show(rows: Iterable[Row], suite: Suite, console: Console) -> None:
    """Prints the tables of these rows."""
    print_tables(rows, console, layout(suite))


def regenerate(name: str, out: str | Path) -> None:
    """Writes `<out>/<name>/README.md` and its CSV files from the rows in `<out>/<name>/rows`.

    Raises:
        UnknownNameError: no such suite. RowError: no rows, or rows that cannot be read.
    """
    if name not in SUITES:
        raise UnknownNameError(registry.did_you_mean("suite", name, SUITES))
    folder = Path(out) / name
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RowWarning)
        write_leaderboard(folder / "rows", folder, layout(SUITES[name]))
    for warning in caught:
        say(f"zsad-bench: {warning.message}", error=True)
