"""Write a suite's leaderboard as one HTML file that needs no network, see docs/page.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from zsad_bench import outputs
from zsad_bench.commands.table import layout
from zsad_bench.errors import UnknownNameError, UsageError
from zsad_bench.leaderboard.page.build import write_page
from zsad_bench.leaderboard.page.gallery import PICTURE
from zsad_bench.options import Argument, Option
from zsad_bench.planning.suite import SUITES
from zsad_bench.printable import say
from zsad_bench.registry import did_you_mean

_MB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Options:
    suite: Annotated[str, Argument("SUITE", "whose rows: demo or paper")]
    board: Annotated[str, Option("FOLDER", "that holds <suite>/rows and pictures")] = "leaderboards"
    out: Annotated[str | None, Option("FILE.html", "default: index.html beside the rows", writes="file")] = None
    photos: Annotated[bool, Option(help="also pictures whose licence does not let them be passed on")] = False
    megabytes: Annotated[float, Option("N", "of the file; pictures that do not fit are left out")] = 5.0


def run(options: Options) -> int:
    """Writes the page and says how big it is, what is on it, and what was left out.

    Raises:
        UnknownNameError: no such suite. UsageError: a size that is not above 0. RowError: as `write_page`.
    """
    if options.suite not in SUITES:
        raise UnknownNameError(did_you_mean("suite", options.suite, SUITES))
    if not options.megabytes > 0:
        raise UsageError(f"--megabytes {options.megabytes}: expected a number above 0")
    folder = Path(options.board) / options.suite
    out = Path(options.out) if options.out else folder / "index.html"
    outputs.check_file(out, "--out")
    had_pictures = out.is_file() and PICTURE.encode() in out.read_bytes()
    made = write_page(folder, out, layout(SUITES[options.suite]), options.photos, options.megabytes)
    shown = made.gallery
    say(f"{made.path}: {made.size / _MB:.1f} MB, {made.n_rows} rows, {_pictures(len(shown.cards))}")
    if had_pictures and not (shown.cards or shown.withheld or shown.too_many):
        say(f"the page that was here had pictures, and {folder / 'pictures'} holds none of these rows: runs write them "
            "there, and git does not keep them")  # fmt: skip
    for title, n in shown.withheld.items():
        say(f"{title}: {_pictures(n)} left out, its images may not be redistributed; --photos adds them, for you only")
    if shown.too_many:
        say(f"{_pictures(shown.too_many)} left out: more than {options.megabytes:g} MB; --megabytes allows more")
    elif made.size > options.megabytes * _MB:
        say(f"rows and tables alone are larger than {options.megabytes:g} MB; none of them is left out")
    return 0


def _pictures(n: int) -> str:
    return f"{n} picture" if n == 1 else f"{n} pictures"
