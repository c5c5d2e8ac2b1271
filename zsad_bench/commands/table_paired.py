"""The difference of two methods on the same images, with its interval."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from zsad_bench.commands._row_selection import (
    RowsOptions,
    all_facts,
    chosen_rows,
    listed,
    refuse_two_settings,
    rows_folder,
    suite_with_rows,
)
from zsad_bench.commands._shared import SuiteOfRows
from zsad_bench.console import Console
from zsad_bench.errors import RowError, UsageError
from zsad_bench.leaderboard.statistics import paired
from zsad_bench.leaderboard.tables.marks import Partials, describe
from zsad_bench.options import Option
from zsad_bench.variant import PLAIN


@dataclass(frozen=True, kw_only=True)
class Options:
    source: RowsOptions = field(default_factory=RowsOptions)
    suite: SuiteOfRows = None
    method: Annotated[str | None, Option("NAME,NAME", "the two")] = None
    metric: Annotated[str | None, Option("NAME", "of images; default: image_auroc")] = None
    prior: Annotated[str | None, Option("NAME", "of the rows, where a method has several")] = None
    dataset: Annotated[str | None, Option("NAME[,NAME…]", "keep only these")] = None


def run(options: Options) -> int:
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
        refuse_two_settings(own)
        for text in dict.fromkeys(describe(parts.of(row), facts.title) for row in own if parts.of(row)):
            console.print(f"{facts.title(name)} is on part of the data: {text}", style="yellow")
        if any(row.transductive for row in own):
            console.print(f"{facts.title(name)} is transductive: it sees all test images of a category", style="yellow")
        sides.append(paired.scores_of(own, rows_folder(options.source, suite).parent / "scores"))
    gap = paired.paired_bootstrap(sides[0], sides[1], statistic(metric))
    titles = " minus ".join(map(facts.title, names))
    console.print(
        f"{titles}, {metric}: {100 * gap.value:+.2f} points, {gap.level:.0%} interval {100 * gap.low:+.2f} to "
        f"{100 * gap.high:+.2f}, not better in {gap.below_zero:.1%} of resamples; {gap.n_images} images of "
        f"{gap.n_categories} categories, drawn alike for both"
        + (f"; {gap.n_left_out} categories of only one of them left out" if gap.n_left_out else "")
    )
    return 0
