"""`zsad-bench table paper|pivot|claims|paired`: what the papers printed and what was measured."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from zsad_bench import registry
from zsad_bench.commands.table import _footnotes
from zsad_bench.data import known
from zsad_bench.errors import RowError, UnknownNameError, UsageError
from zsad_bench.leaderboard import claims, paired, show
from zsad_bench.leaderboard import pivot as pivots
from zsad_bench.leaderboard import rows as store
from zsad_bench.leaderboard.files import write_whole
from zsad_bench.leaderboard.grid import Grid
from zsad_bench.leaderboard.measure import refuse_mixed
from zsad_bench.leaderboard.paper_tables import TABLES, Number, numbers
from zsad_bench.leaderboard.published import Facts, fidelity, read_published
from zsad_bench.leaderboard.row import Row
from zsad_bench.leaderboard.summary import comparable
from zsad_bench.sweep.suite import SUITES

_MIXED = "choose with --backbone or --from, or take the newest run's of each with --mixed"
_FORMATS = ("csv", "md", "tex")


def paper(name: str, options: Any) -> None:
    """Writes the paper tables of that name ("all": every one) to `--out` and prints them.

    Raises:
        UnknownNameError: no such table. RowError: rows that cannot be read or should not be mixed.
    """
    if name != "all" and name not in TABLES:
        raise UnknownNameError(registry.did_you_mean("paper table", name, ["all", *TABLES]))
    console, facts, published = _console(), _facts(), read_published()
    told: list[str] = []
    rows = _rows(options, console, "paper", optional=True, told=told)
    for one in TABLES if name == "all" else [name]:
        grids, found = numbers(one, published, rows, facts)
        command = f"zsad-bench table paper {one}"
        _write(Path(options.out), one, TABLES[one].title, grids, [_record(one, n, facts) for n in found], command, told)
        show.terminal(grids, console)
    _say_where(console, options.out)


def pivot(options: Any) -> None:
    """Prints any table of a suite's rows, and writes it where `--out` is given.

    Raises:
        UsageError: an axis that there is not. RowError: nothing to show, or what should not be averaged.
    """
    console, facts = _console(), _facts()
    lines, columns = _axes(options.rows or "dataset", "--rows"), _axes(options.cols or "method", "--cols")
    only = {
        axis: _names(options[axis]) for axis in ("metric", "prior", "method", "dataset", "backbone") if options[axis]
    }
    suite = options.suite or _suite_with_rows(options)
    told: list[str] = []
    rows = _rows(options, console, suite, told=told)
    shown, records = pivots.pivot(rows, lines, columns, only, facts, _groups(suite))
    show.terminal([shown], console)
    if options.out:
        _write(Path(options.out), "pivot", shown.title, [shown], records, "zsad-bench table pivot", told)
        _say_where(console, options.out)


def claim(options: Any) -> None:
    """Prints the papers' headline gains, as claimed, as printed and as measured; writes them to `--out`."""
    console, told = _console(), []
    rows = _rows(options, console, "paper", optional=True, told=told)
    shown, records = claims.table(read_published(), rows, _facts())
    show.terminal([shown], console)
    _write(
        Path(options.out), "claims", "Headline gains of the papers", [shown], records, "zsad-bench table claims", told
    )
    _say_where(console, options.out)


def compare(options: Any) -> None:
    """Prints the difference of two methods on the same images with its interval.

    Raises:
        UsageError: not two methods, or not an image metric. RowError: no such rows or scores.
    """
    from zsad_bench.metrics.functional import ranking

    statistics = {"image_auroc": ranking.auroc, "image_ap": ranking.average_precision, "image_f1max": ranking.f1max}
    names, metric = _names(options.method or ""), options.metric or "image_auroc"
    if len(names) != 2:
        raise UsageError(
            f"table paired: --method takes two names, found '{options.method or ''}'; as in dive,anomalyclip"
        )
    if metric not in statistics:
        raise UsageError(f"table paired: per-image scores give {', '.join(statistics)}; found --metric {metric}")
    console, facts = _console(), _facts()
    suite = options.suite or _suite_with_rows(options)
    rows = _rows(options, console, suite)
    keep = {"prior": {*_names(options.prior or "")}, "target": {*_names(options.dataset or "")}}
    sides = []
    for name in names:
        own = [r for r in rows if (r.method, r.variant, r.metric) == (name, "", metric)]
        own = [r for r in own if not keep["target"] or r.target in keep["target"]]
        own = [r for r in own if not keep["prior"] or r.prior in keep["prior"] or r.prior == "none"]
        if not own:
            raise RowError(
                f"no rows of {name} with {metric} under these options; run `zsad-bench bench --method {name}`"
            )
        if len(priors := sorted({r.prior for r in own})) > 1:
            raise UsageError(f"table paired: rows of {name} under priors {', '.join(priors)}; choose one with --prior")
        sides.append(paired.scores_of(own, _folder(options, suite).parent / "scores"))
    found = paired.paired_bootstrap(*sides, statistics[metric])
    titles = " minus ".join(map(facts.title, names))
    console.print(
        f"{titles}, {metric}: {100 * found.value:+.2f} points, {found.level:.0%} interval {100 * found.low:+.2f} to "
        f"{100 * found.high:+.2f}, not better in {found.below_zero:.1%} of resamples; {found.n_images} images of "
        f"{found.n_categories} categories, drawn alike for both"
        + (f"; {found.n_left_out} categories of only one of them left out" if found.n_left_out else ""),
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def _facts() -> Facts:
    titles = {entry.name: entry.title for room in ("methods", "datasets") for entry in registry.describe(room)}
    built = {name: registry.load("methods", name) for name in registry.names("methods")}
    return Facts(
        titles=titles,
        built=frozenset(built),
        official=frozenset(
            n for n, cls in built.items() if "fidelity" in getattr(cls.Config, "__dataclass_fields__", {})
        ),
        counts={cls.name: cls.expected[:2] for cls in known.real()},
        footnotes=_footnotes(titles),
    )


def _groups(suite: str) -> pivots.Groups:
    """The datasets of a suite that may be averaged, by what metrics they have."""
    if SUITES[suite].generated:
        names = SUITES[suite].generated
        return ((f"Mean of generated ({len(names)})", "", names),)
    cards = [cls for cls in known.real() if cls.name in SUITES[suite].targets]
    groups = []
    for level in ("image", "pixel"):
        of = [cls for cls in cards if cls.level in ("both", level)]
        for title, domains in (
            ("Industrial", ("industrial",)),
            ("Medical", ("medical",)),
            ("All", ("industrial", "medical")),
        ):
            names = tuple(cls.name for cls in of if cls.domain in domains)
            groups.append((f"{title} mean ({len(names)})", level, names))
    return groups


def _folder(options: Any, suite: str) -> Path:
    return Path(options["from"]) if options["from"] else Path(options.board) / suite / "rows"


def _suite_with_rows(options: Any) -> str:
    """The paper suite where it has rows, else the demo suite."""
    return next((s for s in ("paper", "demo") if any((Path(options.board) / s / "rows").glob("*.jsonl"))), "paper")


def _rows(
    options: Any, console: Console, suite: str, optional: bool = False, told: list[str] | None = None
) -> list[Row]:
    """The rows that stand, of one backbone and data; a contradicted number is an undefined one.

    told: gets a sentence on everything that was left out, which is printed too.

    Raises:
        UnknownNameError: no such suite. RowError: none there (unless optional), or some that should not be mixed.
    """
    if suite not in SUITES:
        raise UnknownNameError(registry.did_you_mean("suite", suite, SUITES))
    folder = _folder(options, suite)
    folder = folder / "rows" if (folder / "rows").is_dir() else folder
    if optional and not options["from"] and not folder.is_dir():
        return []
    read = store.read(store.row_files(folder))
    found = store.current(read.rows)
    remarks = [f"Two values for one number in one run, neither is used: {one}." for one in found.conflicts]
    remarks += [f"Left out: {one.told(one.path.name)}." for one in read.torn]
    for remark in remarks:
        console.print(remark, style="red", soft_wrap=True, highlight=False, markup=False)
    rows = found.with_gaps()
    if options.backbone:
        rows = [row for row in rows if row.backbone in (*_names(options.backbone), "none")]
    if options.mixed:
        rows, left_out = comparable(rows)
        for sentence in left_out:
            remarks.append(f"Left out: {sentence}.")
            console.print(remarks[-1], style="yellow", soft_wrap=True, highlight=False, markup=False)
    else:
        refuse_mixed(rows, _MIXED)
    if told is not None:
        told += remarks
    return rows


def _record(table: str, number: Number, facts: Facts) -> dict[str, Any]:
    found, difference = number.measured, number.difference
    return {
        "table": table, "method": number.entry.method, "line": number.entry.label, "variant": number.variant or "",
        "fidelity": fidelity(number.variant, number.entry.method, facts) if number.variant is not None else "",
        "scope": number.scope, "metric": number.metric, "mean": found.mean, "sd": found.sd, "n_runs": found.n_runs,
        "n_datasets": len(found.datasets), "n_datasets_expected": len(number.targets),
        "n_categories": found.n_categories, "n_categories_expected": found.n_expected, "published": number.published,
        "difference": difference, "why_not": number.why_not,
    }  # fmt: skip


def _write(
    out: Path,
    name: str,
    title: str,
    grids: Sequence[Grid],
    records: Iterable[Mapping],
    command: str,
    told: Sequence[str] = (),
) -> None:
    """Writes a table in three formats; told: what belongs under it, as `_rows` says it."""
    grids = [*grids[:-1], replace(grids[-1], notes=[*grids[-1].notes, *told])]
    pages = (_csv(records), show.markdown(grids, title, command), show.latex(grids, command))
    for ending, text in zip(_FORMATS, pages, strict=True):
        write_whole(out / f"{name}.{ending}", text.encode())


def _csv(records: Iterable[Mapping[str, Any]]) -> str:
    records, text = list(records), io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(records[0]) if records else [], lineterminator="\n")
    table.writeheader()
    table.writerows(records)
    return text.getvalue()


def _axes(text: str, option: str) -> list[str]:
    names = _names(text)
    for name in names:
        if name not in pivots.AXES:
            raise UnknownNameError(f"{option}: {registry.did_you_mean('axis', name, pivots.AXES)}")
    return names


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _say_where(console: Console, out: str | Path) -> None:
    console.print(f"\ntables: {out}", highlight=False, soft_wrap=True)


def _console() -> Console:
    return Console(soft_wrap=False)
