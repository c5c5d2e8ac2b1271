"""One HTML file with everything in it: styles, scripts, tables, rows and pictures; it asks no network for anything."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from zsad_bench.atomic import write_whole
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
    style = _asset("page.css")
    # One scope for all scripts, and nothing in the page's own.
    script = '"use strict";\n(() => {\n' + "\n".join(_asset(f"{name}.js") for name in SCRIPTS) + "})();\n"
    # Only these two may act: what a row says cannot become a script, whatever it is.
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": html.escape(f"{said['suite']} – zero-shot anomaly detection leaderboard"),
        "style": style,
        "data": as_data({**said, "gallery": gallery.content(), "scale": SCALE.tolist()}),
        "script": script,
    }
    text = _asset("page.html")
    head, *rest = text.split("{{")
    return head + "".join(parts[name] + after for name, _, after in (piece.partition("}}") for piece in rest))


def as_data(value: Any) -> str:
    """JSON that may stand inside a script element: no `<`, `>` or `&` in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")
