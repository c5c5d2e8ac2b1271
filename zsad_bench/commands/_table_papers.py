"""What the papers printed and what was measured, of any rows and of two methods on the same images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsad_bench import registry
from zsad_bench.commands._row_selection import all_facts, chosen_rows, groups, listed, rows_folder, suite_with_rows
from zsad_bench.commands._table_files import say_where, write_table
from zsad_bench.console import Console
from zsad_bench.errors import RowError, UnknownNameError, UsageError
from zsad_bench.leaderboard.statistics import paired
from zsad_bench.leaderboard.tables import claims, render
from zsad_bench.leaderboard.tables import pivot as pivots
from zsad_bench.leaderboard.tables.marks import Partials, describe
from zsad_bench.leaderboard.tables.papers import TABLES, Number, numbers
from zsad_bench.leaderboard.tables.published import Facts, fidelity, read_published
from zsad_bench.variant import PLAIN

if TYPE_CHECKING:
    from zsad_bench.commands.table_claims import Options as ClaimsOptions
    from zsad_bench.commands.table_paired import Options as PairedOptions
    from zsad_bench.commands.table_paper import Options as PaperOptions
    from zsad_bench.commands.table_pivot import Options as PivotOptions


def paper(name: str, out: str, options: PaperOptions) -> None:
    """Writes the paper tables of that name ("all": every one) to `--out` and prints them.

    Raises:
        UnknownNameError: no such table. RowError: rows that cannot be read or should not be mixed.
    """
    if name != "all" and name not in TABLES:
        raise UnknownNameError(registry.did_you_mean("paper table", name, ["all", *TABLES]))
    console, facts, published = Console(), all_facts(), read_published()
    remarks: list[str] = []
    rows = chosen_rows(options.source, console, "paper", optional=True, remarks=remarks)
    for one in TABLES if name == "all" else [name]:
        grids, cells = numbers(one, published, rows, facts)
        command = f"zsad-bench table paper {one}"
        records = [_record(one, number, facts) for number in cells]
        write_table(Path(out), one, TABLES[one].title, grids, records, command, remarks)
        render.terminal(grids, console)
    say_where(console, out)


def pivot(options: PivotOptions) -> None:
    """Prints any table of a suite's rows, and writes it where `--out` is given.

    Raises:
        UsageError: an axis that there is not. RowError: nothing to show, or what should not be averaged.
    """
    console, facts = Console(), all_facts()
    lines, columns = _axes(options.rows, "--rows"), _axes(options.cols, "--cols")
    suite = options.suite or suite_with_rows(options.source)
    remarks: list[str] = []
    rows = chosen_rows(options.source, console, suite, remarks=remarks)
    fields = {"metric": "metric", "prior": "prior", "method": "method", "dataset": "target", "backbone": "backbone"}
    asked = {**vars(options.only), "backbone": options.source.backbone}
    only = {axis: listed(names, {getattr(row, fields[axis]) for row in rows}) for axis, names in asked.items() if names}
    shown, records = pivots.pivot(rows, lines, columns, only, facts, groups(suite))
    render.terminal([shown], console)
    if options.out:
        write_table(Path(options.out), "pivot", shown.title, [shown], records, "zsad-bench table pivot", remarks)
        say_where(console, options.out)


def claim(options: ClaimsOptions) -> None:
    """Prints the papers' headline gains, as claimed, as printed and as measured; writes them to `--out`."""
    console, remarks = Console(), []
    rows = chosen_rows(options.source, console, "paper", optional=True, remarks=remarks)
    shown, records = claims.table(read_published(), rows, all_facts())
    render.terminal([shown], console)
    write_table(
        Path(options.out),
        "claims",
        "Headline gains of the papers",
        [shown],
        records,
        "zsad-bench table claims",
        remarks,
    )
    say_where(console, options.out)


def compare(options: PairedOptions) -> None:
    """Prints the difference of two methods on the same images with its interval.

    Raises:
        UsageError: not two methods, or not an image metric. RowError: no such rows or scores.
    """
    from zsad_bench.metrics import IMAGE_KEYS
    from zsad_bench.metrics.functional.image import statistic

    names, metric = listed(options.method or ""), options.metric or "image_auroc"
    if len(names) != 2:
        raise UsageError(
            f"table paired: --method takes two names, found '{options.method or ''}'; as in dive,anomalyclip"
        )
    if metric not in IMAGE_KEYS:
        raise UsageError(f"table paired: per-image scores give {', '.join(IMAGE_KEYS)}; found --metric {metric}")
    console, facts = Console(), all_facts()
    suite = options.suite or suite_with_rows(options.source)
    rows = chosen_rows(options.source, console, suite)
    targets = listed(options.dataset or "", {row.target for row in rows})
    keep = {"prior": {*listed(options.prior or "")}, "target": {*targets}}
    sides, parts = [], Partials(rows)
    for name in names:
        own = [r for r in rows if (r.method, r.variant, r.metric) == (name, PLAIN, metric)]
        own = [r for r in own if not keep["target"] or r.target in keep["target"]]
        own = [r for r in own if not keep["prior"] or r.prior in keep["prior"] or r.prior == "none"]
        if not own:
            raise RowError(
                f"no rows of {name} with {metric} under these options; run `zsad-bench bench --method {name}`"
            )
        if len(priors := sorted({r.prior for r in own})) > 1:
            raise UsageError(f"table paired: rows of {name} under priors {', '.join(priors)}; choose one with --prior")
        for text in dict.fromkeys(describe(parts.of(row), facts.title) for row in own if parts.of(row)):
            console.print(f"{facts.title(name)} is on part of the data: {text}", style="yellow")
        if any(row.transductive for row in own):
            console.print(f"{facts.title(name)} is transductive: it sees all test images of a category", style="yellow")
        sides.append(paired.scores_of(own, rows_folder(options.source, suite).parent / "scores"))
    gap = paired.paired_bootstrap(*sides, statistic(metric))
    titles = " minus ".join(map(facts.title, names))
    console.print(
        f"{titles}, {metric}: {100 * gap.value:+.2f} points, {gap.level:.0%} interval {100 * gap.low:+.2f} to "
        f"{100 * gap.high:+.2f}, not better in {gap.below_zero:.1%} of resamples; {gap.n_images} images of "
        f"{gap.n_categories} categories, drawn alike for both"
        + (f"; {gap.n_left_out} categories of only one of them left out" if gap.n_left_out else "")
    )


def _record(table: str, number: Number, facts: Facts) -> dict[str, Any]:
    preset = fidelity(number.variant, number.entry.method, facts) if number.variant is not None else ""
    return {
        "table": table, "method": number.entry.method, "line": number.entry.label, "variant": number.variant or "",
        "fidelity": preset, "scope": number.scope, "metric": number.metric, **number.measured.record(),
        "n_datasets_expected": len(number.targets), "published": number.published, "difference": number.difference,
        "why_not": number.why_not,
    }  # fmt: skip


def _axes(text: str, option: str) -> list[str]:
    names = listed(text)
    for name in names:
        if name not in pivots.AXES:
            raise UnknownNameError(f"{option}: {registry.did_you_mean('axis', name, pivots.AXES)}")
    return names
