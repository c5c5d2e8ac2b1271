"""How much of a number is left on corrupted images, and when prompts call things by other words.

The relative change under a condition is (number under it - number without it) / number without it, both means over the
same categories and datasets of one run. -0.1 is a tenth of the number lost. It is taken within a run, a training seed
with a draw of the auxiliary data, averaged over severities and corruptions within the run, and then over runs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from zsad_bench import metric_keys
from zsad_bench.conditions import Condition, of_options
from zsad_bench.leaderboard.tables import grid, marks
from zsad_bench.leaderboard.tables.averaging import (
    NOTHING,
    SPREAD,
    Measured,
    Place,
    Pool,
    Run,
    deviation,
    pools,
    widest,
)
from zsad_bench.leaderboard.tables.grid import Column, Grid, GridCell
from zsad_bench.leaderboard.tables.mixed_rows import LINE
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.results.row import Row


class RunChange(NamedTuple):
    """Of one run: the relative change, and both means, in [0, 1], over the categories that both are defined on.

    change: None where the number without the condition is 0, of which nothing can be lost.
    """

    change: float | None
    clean: float
    under: float
    datasets: tuple[str, ...]
    places: frozenset[Place]


@dataclass(frozen=True)
class Line:
    """One line of a table, for one metric. key: its `LINE` values.

    clean: without a condition. runs: condition -> run -> its change; n_runs: runs with any row under it. n_expected:
    categories that the change under it could be over. marked: what is to be marked about all of these numbers.
    """

    key: tuple
    metric: str
    clean: Measured
    runs: Mapping[Condition, Mapping[Run, RunChange]]
    n_runs: Mapping[Condition, int]
    n_expected: Mapping[Condition, int]
    marked: Measured

    @property
    def method(self) -> str:
        return str(self.key[0])

    def severities(self, corruption: str) -> tuple[int, ...]:
        """Those that it has numbers of."""
        return tuple(sorted(c.severity for c in self.runs if (c.kind, c.name) == ("corruption", corruption)))

    def change(self, conditions: Sequence[Condition]) -> Measured:
        """The relative change, averaged over these conditions within each run; NOTHING where one of them has none.

        A run that lacks a condition, or covers other categories than the best covered one, is not averaged.
        """
        parts = [self.runs.get(condition, {}) for condition in conditions]
        found = max((self.n_runs.get(condition, 0) for condition in conditions), default=0)
        whole = [run for run in (parts[0] if parts else ()) if all(run in part for part in parts)]
        by_run = {run: [part[run] for part in parts] for run in whole}
        covered = {
            run: frozenset((at, *place) for at, one in zip(conditions, of, strict=True) for place in one.places)
            for run, of in by_run.items()
        }
        places = widest(covered.values())
        means = [
            math.fsum(one.change for one in of if one.change is not None) / len(of)
            for run, of in sorted(by_run.items())
            if covered[run] == places and all(one.change is not None for one in of)
        ]
        expected = max((self.n_expected.get(condition, 0) for condition in conditions), default=0)
        if not means:
            return NOTHING._replace(n_runs_found=found, n_expected=expected)
        averaged = next(of for run, of in by_run.items() if covered[run] == places)
        return self.marked._replace(
            mean=math.fsum(means) / len(means), sd=deviation(means), n_runs=len(means), n_runs_found=found,
            datasets=averaged[0].datasets, n_categories=min(len(one.places) for one in averaged), n_expected=expected,
            places=places,
        )  # fmt: skip

    def means(self, condition: Condition) -> tuple[float, float]:
        """The means without and under a condition, over the runs and categories that the change is over."""
        of = list(self.runs[condition].values())
        places = widest(one.places for one in of)
        full = [one for one in of if one.places == places]
        return math.fsum(one.clean for one in full) / len(full), math.fsum(one.under for one in full) / len(full)


def lines(rows: Iterable[Row], targets: Mapping[str, Sequence[str]]) -> list[Line]:
    """Every line that has a number without and under a condition, by metric and line.

    rows: current and comparable ones, of all conditions. targets: level of the metric -> datasets that are averaged.
    """
    kept = [row for row in rows if row.target in targets.get(row.metric.split("_")[0], ())]
    line_of = attrgetter(*LINE, "metric")
    found = pools(kept, lambda row: (line_of(row), of_options(row.data_options)))
    by_line: dict[tuple, dict[Condition | None, Pool]] = defaultdict(dict)
    for (place, condition), pool in found.items():
        by_line[place][condition] = pool
    tested: dict[Condition, set[str]] = defaultdict(set)  # under a condition, by any line
    for (_, condition), pool in found.items():
        if condition is not None:
            tested[condition] |= {target for target, _ in pool.categories()}
    categories: dict[str, set[Place]] = defaultdict(set)  # metric -> those that any line has a number without one of
    for (place, condition), pool in found.items():
        if condition is None:
            categories[place[-1]] |= pool.categories()
    made = []
    for place, of in sorted(by_line.items(), key=lambda item: (item[0][-1], item[0])):
        clean = of.pop(None, None)
        if clean is None:
            continue
        runs = {condition: _changes(clean, pool) for condition, pool in of.items() if condition is not None}
        runs = {condition: changes for condition, changes in sorted(runs.items()) if changes}
        if not runs:
            continue
        expected = categories[place[-1]]
        everything = [pool.mean() for pool in (clean, *of.values())]
        marked = NOTHING._replace(
            parts=marks.union(mean.parts for mean in everything),
            transductive=any(mean.transductive for mean in everything),
            remarks=marks.union(mean.remarks for mean in everything),
        )
        made.append(
            Line(
                key=place[:-1],
                metric=place[-1],
                clean=clean.mean(expected=expected),
                runs=runs,
                n_runs={condition: len(of[condition].runs) for condition in runs},
                n_expected={
                    condition: sum(target in tested[condition] for target, _ in expected) for condition in runs
                },
                marked=marked,
            )
        )
    return made


def _changes(clean: Pool, under: Pool) -> dict[Run, RunChange]:
    """Of each run that has both, over the categories that both define."""
    found = {}
    for run, datasets in sorted(under.runs.items()):
        both = Pool(), Pool()
        for target, values in datasets.items():
            before = clean.runs.get(run, {}).get(target, {})
            for category, value in values.items():
                if value is not None and before.get(category) is not None:
                    both[0].put(run, target, category, before[category])
                    both[1].put(run, target, category, value)
        if not both[0].runs:
            continue
        (first,), (second,) = (pool.by_run().values() for pool in both)
        assert first.mean is not None  # whatever is in the pool is defined
        assert second.mean is not None
        change = second.mean / first.mean - 1 if first.mean else None
        found[run] = RunChange(change, first.mean, second.mean, first.datasets, first.places)
    return found


def table(of: Sequence[Line], facts: Facts, sanity: Collection[str] = ()) -> tuple[list[Grid], list[dict[str, Any]]]:
    """Two grids for each metric, by condition and by severity, and one record for each line, metric and condition.

    sanity: methods that are shown and not ranked.
    """
    grids = []
    for metric in dict.fromkeys(line.metric for line in of):
        own = [line for line in of if line.metric == metric]
        grids.append(_by_condition(metric, own, facts, sanity))
        if any(len(line.severities(name)) > 1 for line in own for name in corruptions(own)):
            grids.append(_by_severity(metric, own, facts, sanity))
    return grids, [record for line in of for record in _records(line)]


def corruptions(of: Iterable[Line]) -> list[str]:
    """Those that any line has numbers of, by name."""
    return sorted({condition.name for line in of for condition in line.runs if condition.kind == "corruption"})


def wordings(of: Iterable[Line]) -> list[Condition]:
    """Those that any line has numbers of, by name."""
    return sorted({condition for line in of for condition in line.runs if condition.kind == "wording"})


def severities(of: Iterable[Line], corruption: str) -> list[int]:
    """Those of a corruption that any line has numbers of."""
    return sorted({severity for line in of for severity in line.severities(corruption)})


def names(of: Sequence[Line], facts: Facts) -> list[str]:
    """What each line is called: method, variant and prior, and what else tells it from another one."""
    of_keys = [dict(zip(LINE, line.key, strict=True)) for line in of]
    several = [field for field in LINE[3:] if len({of_key[field] for of_key in of_keys} - {"none"}) > 1]
    return [
        " · ".join(
            [
                facts.title(key["method"]) + (f" ({key['variant']})" if key["variant"] else ""),
                *([key["prior"]] if key["prior"] != "none" else []),
                *(str(key[field]) for field in several),
            ]
        )
        for key in of_keys
    ]


def _levels(found: Sequence[int]) -> str:
    """Severities in words: "1 to 5" where none between is missing, else each of them."""
    if len(found) > 1 and found[-1] - found[0] == len(found) - 1:
        return f"{found[0]} to {found[-1]}"
    return ", ".join(map(str, found))


def _by_condition(metric: str, of: Sequence[Line], facts: Facts, sanity: Collection[str]) -> Grid:
    bad = corruptions(of)
    at = {name: severities(of, name) for name in bad}
    columns = [Column("clean", "clean"), *(Column(name.replace("_", " "), "corruption") for name in bad)]
    columns += [Column("all corruptions", "corruption")] if len(bad) > 1 else []
    columns += [Column(condition.words, "wording") for condition in wordings(of)]
    cells = []
    for line in of:
        each = {name: [Condition("corruption", name, severity) for severity in line.severities(name)] for name in bad}
        one = [grid.cell(line.clean)]
        one += [_cell(line.change(each[name]), len(each[name]), len(at[name]), "severities") for name in bad]
        if len(bad) > 1:
            whole = sum(map(len, at.values()))
            one.append(_cell(_over(line, each), sum(map(len, each.values())), whole, "corruptions"))
        one += [_cell(line.change([condition]), int(condition in line.runs), 1, "") for condition in wordings(of)]
        cells.append(one)
    by_levels: dict[str, list[str]] = {}
    for name in bad:
        by_levels.setdefault(_levels(at[name]), []).append(name.replace("_", " "))
    shown = "; ".join(f"{levels} of {', '.join(names)}" for levels, names in by_levels.items())
    first = f"A corruption is averaged over its severities: {shown}." if bad else ""
    if wordings(of):
        first += (
            " A wording is over the categories that have another word, and of methods whose tests read names; others "
            "have empty cells."
        )
    return _grid(f"{_title(metric)}: relative change", columns, cells, of, facts, sanity, first)


def _over(line: Line, each: Mapping[str, Sequence[Condition]]) -> Measured:
    """Over all severities of a corruption first, then over corruptions, so that each corruption counts alike."""
    if not all(each.values()):
        each = {name: conditions for name, conditions in each.items() if conditions}
    # Equal numbers of severities: the mean of means is the mean over all of them.
    counts = {len(conditions) for conditions in each.values()}
    if len(counts) == 1:
        return line.change([condition for conditions in each.values() for condition in conditions])
    times = math.lcm(*counts) if counts else 1
    return line.change([c for conditions in each.values() for c in conditions for _ in range(times // len(conditions))])


def _by_severity(metric: str, of: Sequence[Line], facts: Facts, sanity: Collection[str]) -> Grid:
    bad = corruptions(of)
    levels = sorted({severity for name in bad for severity in severities(of, name)})
    having = {level: [name for name in bad if level in severities(of, name)] for level in levels}
    cells = []
    for line in of:
        one = [grid.cell(line.clean)]
        for level in levels:
            own = [Condition("corruption", name, level) for name in having[level] if level in line.severities(name)]
            one.append(_cell(line.change(own), len(own), len(having[level]), "corruptions"))
        cells.append(one)
    columns = [Column("clean", "clean"), *(Column(f"severity {level}", "severity") for level in levels)]
    first = f"Each severity is averaged over {', '.join(name.replace('_', ' ') for name in bad)}."
    return _grid(f"{_title(metric)}: relative change by severity", columns, cells, of, facts, sanity, first)


def _grid(
    title: str,
    columns: list[Column],
    cells: Sequence[Sequence[GridCell]],
    of: Sequence[Line],
    facts: Facts,
    sanity: Collection[str],
    first: str,
) -> Grid:
    by_column = []
    for column in zip(*cells, strict=True):
        contenders = [
            one if line.method not in sanity else one._replace(number=NOTHING)
            for one, line in zip(column, of, strict=True)
        ]
        ranked = grid.ranked(contenders)
        by_column.append([one._replace(rank=with_rank.rank) for one, with_rank in zip(column, ranked, strict=True)])
    numbering = marks.numbered(remark.text for line in of for remark in line.marked.remarks)
    made = []
    called = names(of, facts)
    for line, name, one in zip(of, called, zip(*by_column, strict=True), strict=True):
        label = name + facts.sign(line.method) + marks.signs(line.marked) + marks.raised([line.marked], numbering)
        made.append((label + " (sanity check)" * (line.method in sanity), list(one)))
    datasets = dict.fromkeys(facts.title(name) for line in of for name in line.clean.datasets)
    marked = {name: [line.marked] for name, line in zip(called, of, strict=True)}
    notes = [
        f"clean: percent, over {', '.join(datasets)}. All else: relative change in percent, (number under the "
        "condition − number without it) / number without it, over the same categories; −10.0 is a tenth lost. The "
        f"smallest loss is bold. {first}",
        f"{SPREAD}.",
        *marks.notes(marked, len(of), facts.title, numbering),
        *facts.unverified_notes({line.method for line in of}),
    ]
    return Grid(title, "method · prior", columns, made, notes)


def _cell(number: Measured, there: int, wanted: int, what: str) -> GridCell:
    """A relative change as printed; what it lacks is counted, and it is then not ranked. there: conditions averaged."""
    if not there:
        return GridCell()
    if number.mean is None:
        return GridCell(grid.UNDEFINED, number=number)
    text = grid.difference(number.mean) + (f" ± {100 * number.error:.1f}" if number.error is not None else "")
    if number.n_categories < number.n_expected:
        text += f" ({number.n_categories}/{number.n_expected} categories)"
    if number.n_runs < number.n_runs_found:
        text += f" ({number.n_runs}/{number.n_runs_found} runs)"
    if there < wanted:
        return GridCell(f"{text} ({there}/{wanted} {what})")
    return GridCell(text, number=number)


def _title(metric: str) -> str:
    return metric_keys.titles().get(metric, metric)


def _records(line: Line) -> list[dict[str, Any]]:
    place = dict(zip(LINE, line.key, strict=True)) | {"metric": line.metric}
    records = []
    for condition in line.runs:
        clean, under = line.means(condition)
        said = {"kind": condition.kind, "condition": condition.name, "severity": condition.severity or ""}
        records.append({**place, **said, "clean": clean, "under": under, **line.change([condition]).record()})
    return records
