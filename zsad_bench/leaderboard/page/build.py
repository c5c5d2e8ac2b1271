"""One HTML file with everything in it: styles, scripts, tables, rows and pictures; it asks no network for anything."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from zsad_bench.atomic import write_whole
from zsad_bench.html_page import fill
from zsad_bench.leaderboard.page.content import content
from zsad_bench.leaderboard.page.gallery import Gallery, gather
from zsad_bench.leaderboard.tables.leaderboard_tables import LeaderboardLayout, build
from zsad_bench.results import rows as store
from zsad_bench.results.pictures import SCALE

# In the order in which they are read: each uses only what stands before it.
SCRIPTS = ("data", "dom", "state", "provenance", "table", "matrix", "figure", "gallery", "main")
_MB = 1024 * 1024


class Written(NamedTuple):
    """path: of the page. size: in bytes. n_rows: that stand behind its numbers. gallery: its pictures."""

    path: Path
    size: int
    n_rows: int
    gallery: Gallery


def write_page(
    folder: str | Path, out: str | Path, layout: LeaderboardLayout, photos: bool = False, megabytes: float = 5.0
) -> Written:
    """The page written from `<folder>/rows` and `<folder>/pictures`; the same rows and pictures give the same bytes.

    photos: also pictures of datasets that may not be redistributed. megabytes: what the page may weigh; pictures that
    do not fit are left out and counted, rows and tables never.

    Raises:
        RowError: no rows, rows or pictures that cannot be read, or a page that cannot be written.
    """
    folder = Path(folder)
    names = [path.name for path in store.row_files(folder / "rows")]
    found = store.read(folder / "rows")
    report = build(found.rows, layout, found.torn)
    said = content(report, names)
    bare = len(page(said, Gallery()).encode())
    pictures = gather(report, folder / "pictures", int(megabytes * _MB) - bare, photos)
    text = page(said, pictures).encode()
    return Written(write_whole(out, text), len(text), len(report.rows), pictures)


def page(said: Mapping[str, Any], gallery: Gallery) -> str:
    """The page as text. said: the `content` of a report."""
    return fill(
        _asset("page.html"),
        f"{said['suite']} – zero-shot anomaly detection leaderboard",
        _asset("page.css"),
        "\n".join(_asset(f"{name}.js") for name in SCRIPTS),
        {**said, "gallery": gallery.content(), "scale": SCALE.tolist()},
        images="data:",
    )


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")
