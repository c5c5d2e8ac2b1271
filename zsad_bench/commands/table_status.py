"""Every published number, what reproduces it, what that costs, and whether it is done.

What is missing is planned too: hours on one GPU, from parts that were measured (`planning/gpu_hours.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated

from zsad_bench.atomic import write_whole
from zsad_bench.commands._row_selection import RowsOptions, all_facts, chosen_rows
from zsad_bench.console import Console
from zsad_bench.data import prior as priors
from zsad_bench.errors import ZsadError
from zsad_bench.leaderboard.tables import status as states
from zsad_bench.leaderboard.tables.grid import UNDEFINED
from zsad_bench.leaderboard.tables.papers import TABLES
from zsad_bench.leaderboard.tables.published import Facts, read_published
from zsad_bench.leaderboard.tables.render import as_csv
from zsad_bench.options import Option
from zsad_bench.planning.configure import trains
from zsad_bench.planning.gpu_hours import Parts, frozen, learns, read_parts
from zsad_bench.printable import say
from zsad_bench.sweep.sweep_folder import SweepFolder
from zsad_bench.sweep.sweep_status import trained_seconds
from zsad_bench.variant import Variant


@dataclass(frozen=True, kw_only=True)
class Options:
    source: RowsOptions = field(default_factory=RowsOptions)
    runs: Annotated[str, Option("FOLDER", "where sweeps keep how long they trained")] = "runs"
    out: Annotated[str, Option("FOLDER", "where status.csv goes", writes="folder")] = "tables"


def run(options: Options) -> int:
    """Prints how many published numbers are reproduced, line by line, and the hours on one GPU of what is missing.

    Every number goes to `--out`/status.csv.
    """
    console, facts = Console(), all_facts()
    rows = chosen_rows(options.source, console, "paper", optional=True, backbones_apart=True)
    found = states.states(read_published(), rows, facts, training(Path(options.runs)))
    planned = GpuPlan(read_parts(), {name: sum(counts) for name, counts in facts.counts.items()})
    records = [
        {
            "table": s.published.table, "source": s.published.source, "second_hand": s.published.second_hand,
            "protocol": s.published.protocol, "method": s.published.entry.method, "line": s.published.entry.label,
            "scope": s.published.scope, "prior": s.published.prior, "metric": s.published.metric,
            "backbone": s.published.runs_on.backbone, "scored": s.published.scored,
            "published": round(100 * s.published.value, 10), "state": s.state, "command": s.command, "recipe": s.recipe,
            "test_seconds": _known(s.seconds), "train_seconds": _known(s.train_seconds), "comparable": s.compared,
            "why_not": s.why_not, **planned.record(s),
        }
        for s in found
    ]  # fmt: skip
    write_whole(Path(options.out) / "status.csv", as_csv(records).encode())
    console.print(f"{len(found)} published numbers: {_tally(found)}")
    table = ""
    for (name, entry), of in states.by_line(found).items():
        if name != table:
            table = name
            console.print(f"\n{TABLES[name].title} (zsad-bench sweep {TABLES[name].recipe})", style="bold")
            console.print(f"  {planned.said([one for one in found if one.published.table == name], facts)}")
        reason = facts.why_not_built(entry.method)
        why = f" ({reason})" if reason else ""
        console.print(f"  {facts.name(entry)}: {len(of)} numbers, {_tally(of)}{why}{_cost(of)}")
    console.print(f"\nAll tables, each training and test once: {planned.said(found, facts)}")
    console.print(planned.parts.assumption())
    console.print(f"\nthe command of each: {Path(options.out) / 'status.csv'}")
    return 0


Seconds = dict[Hashable, "float | None"]  # of each test or training, once; None where it was never measured


@dataclass(frozen=True)
class GpuPlan:
    """Hours of what is missing. counts: dataset -> its test images."""

    parts: Parts
    counts: Mapping[str, int]

    def jobs(self, found: Iterable[states.State]) -> tuple[Seconds, Seconds]:
        """The tests and the trainings that are missing."""
        tests: Seconds = {}
        trainings: Seconds = {}
        for one in found:
            if one.state not in (states.PART, states.NOT_RUN):
                continue
            method, settings = one.published.entry.method, one.settings
            backbone = one.published.runs_on.backbone
            job: Hashable = method, frozen(settings), backbone
            for target in one.targets:
                if learns(method, frozen(settings)):
                    auxiliary = _auxiliary(one.published.prior, target)
                    job = method, frozen(settings), backbone, auxiliary
                    if job not in trainings:
                        n_images = sum(self.counts[name] for name in auxiliary)
                        trainings[job] = self.parts.train_seconds(method, settings, n_images, backbone)
                tests[job, target] = self.parts.test_seconds(method, settings, self.counts[target], backbone)
        return tests, trainings

    def record(self, one: states.State) -> dict[str, str | float]:
        """The columns of a CSV file: hours of what is missing of one number, tested and trained for it alone."""
        tests, trainings = self.jobs([one])
        return {"planned_test_hours": _hours(tests), "planned_train_hours": _hours(trainings)}

    def said(self, found: Sequence[states.State], facts: Facts) -> str:
        """The hours of what is missing of some numbers, and the lines that were never measured."""
        tests, trainings = self.jobs(found)
        if not tests:
            return "nothing is left to run" if any(one.state == states.DONE for one in found) else "nothing can be run"
        entries = dict.fromkeys(one.published.entry for one in found)
        unknown = [
            facts.name(entry) for entry in entries
            if None in self.jobs([one for one in found if one.published.entry == entry])[0].values()
        ]  # fmt: skip
        text = "– on one GPU"
        if any(seconds is not None for seconds in tests.values()):
            train, test = (_sum(part) / 3600 for part in (trainings, tests))
            text = f"about {train + test:.1f} h on one GPU (training {train:.1f}, testing {test:.1f})"
        return text + (f"; – for {', '.join(unknown)}" if unknown else "")


@cache
def _auxiliary(prior: str, target: str) -> tuple[str, ...]:
    return priors.resolve(prior, "paper", target).auxiliary


def _sum(seconds: Seconds) -> float:
    return sum(value for value in seconds.values() if value is not None)


def _hours(seconds: Seconds) -> float | str:
    return UNDEFINED if None in seconds.values() else round(_sum(seconds) / 3600, 3)


def training(runs: Path) -> states.Training:
    """How long trainings took in sweeps of the paper suite that ran from here, the latest of each.

    A sweep whose plan cannot be read is left out, and a line says so.
    """
    events = []
    for folder in map(SweepFolder, sorted((runs / "sweeps").glob("*"))):
        if not folder.plan_file.is_file():
            continue
        try:
            is_paper = folder.read_plan().suite == "paper"
        except ZsadError as error:
            say(f"training times of one sweep are left out: {error}")
            continue
        if is_paper:
            events += folder.read_events()
    measured = trained_seconds(sorted(events, key=lambda event: event["time"]))
    learns: dict[tuple[str, Variant], bool] = {}

    def seconds(method: str, settings: Mapping[str, object], prior: str) -> float | None:
        variant = Variant(settings)
        if (method, variant) not in learns:
            learns[method, variant] = trains(method, settings)
        return measured.get((method, str(variant), prior)) if learns[method, variant] else 0.0

    return seconds


def _known(seconds: float | None) -> int | str:
    return "unknown" if seconds is None else round(seconds)


def _tally(found: Sequence[states.State]) -> str:
    counts = Counter(one.state for one in found)
    return ", ".join(
        f"{counts[s]} {s}" for s in (states.DONE, states.PART, states.NOT_RUN, states.NOT_BUILT) if counts[s]
    )


def _cost(found: Sequence[states.State]) -> str:
    """What the rest of a line costs with one seed: each command's test, and each auxiliary set's training once."""
    due = [one for one in found if one.state in (states.PART, states.NOT_RUN)]
    if not due:
        return ""
    tests = {one.command: one.seconds for one in due}
    trainings = {one.auxiliary: one.train_seconds for one in due}
    return f"; {_about('testing', tests)}, {_about('training', trainings)}"


def _about(what: str, seconds: Mapping[str, float | None]) -> str:
    known = [value for value in seconds.values() if value is not None]
    if len(known) < len(seconds):
        return f"{what} unknown"
    total = sum(known)
    return f"{what} about {total / 60:.0f} min" if total else f"no {what}"
