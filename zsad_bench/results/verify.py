"""Whether rows can be trusted: every line, rows that occur twice, contradictions, and what must not be mixed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zsad_bench.conditions import of_options
from zsad_bench.errors import RowError
from zsad_bench.results.row import Row
from zsad_bench.results.rows import ahead, current, read_lines, row_files, split_lines

# What is one thing, and the hash that it should have once among the rows that stand.
_ONE_HASH: tuple[tuple[str, Callable[[Row], str | tuple], Callable[[Row], str]], ...] = (
    ("data hash", lambda row: (row.target, str(of_options(row.data_options) or "")), lambda row: row.data_hash),
    ("weights hash", lambda row: row.backbone, lambda row: row.weights_hash),
    ("prior hash", lambda row: (row.prior, row.auxiliary, row.draw), lambda row: row.prior_hash),
    ("metric version", lambda row: row.metric, lambda row: row.metric_version),
)


@dataclass
class Verdict:
    """findings: one line each, what is wrong. n_rows: whole ones. n_superseded: replaced by a newer run."""

    n_files: int = 0
    n_rows: int = 0
    n_superseded: int = 0
    schemas: Counter = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def verify(folder: str | Path, at: str | None = None) -> Verdict:
    """What is wrong with the rows of a leaderboard or of a folder of row files; whole rows beside bad lines count.

    at: the time now, as rows have it, beyond which a row is from the future; None asks the clock.

    Raises:
        RowError: no such folder, or a file that cannot be read.
    """
    folder = Path(folder)
    verdict = Verdict()
    rows: list[Row] = []
    lines_of: dict[tuple, str] = {}
    paths = row_files(folder / "rows" if (folder / "rows").is_dir() else folder)
    if not paths:
        verdict.findings.append(f"{folder}: no row files (*.jsonl)")
    for path in paths:
        lines, torn = split_lines(path)
        for number, row in enumerate(read_lines(lines), start=1):
            place = f"{path}:{number}"
            if isinstance(row, RowError):
                verdict.findings.append(f"{place}: {row}")
            elif row is None:
                last = torn and number == len(lines)
                what = "half-written last line of a killed run" if last else "not a line of JSON, perhaps truncated"
                verdict.findings.append(f"{place}: {what}; that number is missing, the other rows are whole")
            else:
                rows.append(row)
                _doubled(row, place, lines_of, verdict)
    standing, conflicts = current(rows, at)
    verdict.n_files, verdict.n_rows = len(paths), len(rows)
    verdict.schemas.update(row.schema for row in rows)
    verdict.n_superseded = len({(r.key, r.category, r.metric, r.run_id) for r in rows}) - len(
        {(r.key, r.category, r.metric) for r in rows}
    )
    verdict.findings += [f"two values for one number: {conflict}" for conflict in sorted(conflicts, key=str)]
    verdict.findings += ahead(rows, at)
    verdict.findings += _unequal(standing)
    for name, scope, value in _ONE_HASH:
        counts_of: dict[Any, Counter[object]] = {}
        for row in standing:
            counts_of.setdefault(scope(row), Counter())[value(row)] += 1
        for where, counts in sorted(counts_of.items(), key=str):
            if len(counts) > 1:
                shown = ", ".join(f"{str(v)[:16] or 'none'} ({n} rows)" for v, n in sorted(counts.items()))
                of = where if isinstance(where, str) else " · ".join(str(part) for part in where if part != "")
                verdict.findings.append(f"more than one {name} of {of}: {shown}")
    return verdict


def _unequal(rows: list[Row]) -> list[str]:
    """A sentence on each category that cells were measured on different numbers of images of."""
    found: dict[tuple[str, str], dict[tuple[int, int], set[str]]] = {}
    for row in rows:
        counts = found.setdefault((row.target, row.category), {})
        counts.setdefault((row.n_images, row.n_skipped), set()).add(row.method)
    return [
        f"{target}/{category} was measured on different numbers of images: {_counted(counts)}; "
        "these numbers are not comparable"
        for (target, category), counts in sorted(found.items())
        if len({images for images, _ in counts}) > 1
    ]


def _counted(counts: dict[tuple[int, int], set[str]]) -> str:
    """ "16 (clip), 12 (clip_ac; 4 skipped)", the most first."""
    words = []
    for (images, skipped), methods in sorted(counts.items(), reverse=True):
        names = sorted(methods)
        more = f" and {len(names) - 4} more" if len(names) > 5 else ""
        shown = ", ".join(names[:4] if more else names) + more
        words.append(f"{images} ({shown}{f'; {skipped} skipped' if skipped else ''})")
    return ", ".join(words)


def _doubled(row: Row, place: str, lines_of: dict[tuple, str], verdict: Verdict) -> None:
    one = (row.key, row.category, row.metric, row.run_id, row.value)
    first = lines_of.setdefault(one, place)
    if first != place:
        verdict.findings.append(
            f"{place}: the same row as {first} ({row.method} on {row.target}/{row.category}, {row.metric})"
        )
