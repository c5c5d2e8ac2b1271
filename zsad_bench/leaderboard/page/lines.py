"""The lines of a page, which are those of all its tables: one a method, variant and prior."""

from __future__ import annotations

from zsad_bench.leaderboard.tables.leaderboard_tables import Line, Report


def page_lines(report: Report) -> list[Line]:
    """Each line once, in the order of the tables: by title, sanity checks last."""
    found: dict[tuple, tuple[bool, str, int, Line]] = {}
    for table in report.tables:
        for place, line in enumerate(table.lines):
            found.setdefault(line.key, (line.sanity, line.title.casefold(), place, line))
    return [line for *_, line in sorted(found.values(), key=lambda one: one[:3])]


def line_places(report: Report) -> dict[tuple, int]:
    """Line key -> its place in `page_lines`."""
    return {line.key: place for place, line in enumerate(page_lines(report))}
