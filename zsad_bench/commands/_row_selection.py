"""What commands about a board choose by their options: its rows, the facts around them, and what may be averaged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from zsad_bench import registry
from zsad_bench.conditions import Condition, of_options
from zsad_bench.console import Console
from zsad_bench.data import catalog
from zsad_bench.errors import RowError, UnknownNameError
from zsad_bench.leaderboard.tables import pivot as pivots
from zsad_bench.leaderboard.tables.mixed_rows import comparable, refuse_mixed
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.options import Option
from zsad_bench.planning.suite import SUITES
from zsad_bench.protocol import with_own_backbones
from zsad_bench.results import rows as store
from zsad_bench.results.row import Row

_MIXED = "choose with --backbone or --from, or, of other weights, data or metrics, take the newest run's with --mixed"


@dataclass(frozen=True, kw_only=True)
class RowsOptions:
    """Which rows a command reads."""

    board: Annotated[str, Option("FOLDER", "that holds <suite>/rows and pictures")] = "leaderboards"
    from_: Annotated[str | None, Option("FOLDER", "of rows, instead of a suite's")] = None
    backbone: Annotated[str | None, Option("NAME[,NAME…]", "keep only rows of these")] = None
    mixed: Annotated[bool, Option(help="of rows of other weights, data or metric versions take the newest run's")] = (
        False
    )


def all_facts() -> Facts:
    """What tables need to know of every method and dataset there is."""
    titles = {entry.name: entry.title for room in ("methods", "datasets") for entry in registry.describe(room)}
    built, datasets = registry.classes("methods"), registry.classes("datasets")
    return Facts(
        titles=titles,
        built=frozenset(built),
        official=frozenset(
            n for n, cls in built.items() if "fidelity" in getattr(cls.Config, "__dataclass_fields__", {})
        ),
        unverified=unverified_methods(),
        counts={cls.name: cls.expected[:2] for cls in catalog.real()},
        categories={name: tuple(card.name for card in cls.category_cards) for name, cls in datasets.items()},
        footnotes=footnotes(titles),
        datasets=frozenset(registry.names("datasets")),
    )


def unverified_methods() -> dict[str, str]:
    """Each method that was never compared with its official code, with the reason."""
    found = {name: getattr(cls, "unverified", "") for name, cls in registry.classes("methods").items()}
    return {name: why for name, why in found.items() if why}


def footnotes(titles: Mapping[str, str]) -> dict[str, str]:
    """A sentence on every dataset that shares image files with another one."""
    footnotes = {}
    for name, cls in registry.classes("datasets").items():
        others = [titles.get(other, other) for other in getattr(cls, "shares_images_with", ())]
        if others:  # in one order, so that a line with both prints it once
            both = " and ".join(sorted([titles[name], *others]))
            footnotes[name] = f"{both} share images: their numbers are not independent."
    return footnotes


def groups(suite: str) -> pivots.Groups:
    """The datasets of a suite that may be averaged, by what metrics they have."""
    if SUITES[suite].generated:
        names = SUITES[suite].generated
        return ((f"Mean of generated ({len(names)})", "", names),)
    cards = [cls for cls in catalog.real() if cls.name in SUITES[suite].targets]
    found = []
    for level in ("image", "pixel"):
        of = [cls for cls in cards if cls.level in ("both", level)]
        for title, domains in (
            ("Industrial", ("industrial",)),
            ("Medical", ("medical",)),
            ("All", ("industrial", "medical")),
        ):
            names = tuple(cls.name for cls in of if cls.domain in domains)
            found.append((f"{title} mean ({len(names)})", level, names))
    return found


def averaged(suite: str) -> dict[str, tuple[str, ...]]:
    """The datasets of a suite that a mean may be over, by level of the metric."""
    widest_first = list(reversed(groups(suite)))
    return {level: next(of for _, only, of in widest_first if only in ("", level)) for level in ("image", "pixel")}


def rows_folder(options: RowsOptions, suite: str) -> Path:
    """The folder of row files that options name: `--from`, else the suite's under `--board`."""
    return Path(options.from_) if options.from_ else Path(options.board) / suite / "rows"


def suite_with_rows(options: RowsOptions) -> str:
    """The paper suite where it has rows, else the demo suite."""
    return next((s for s in ("paper", "demo") if any((Path(options.board) / s / "rows").glob("*.jsonl"))), "paper")


def chosen_rows(
    options: RowsOptions,
    console: Console,
    suite: str,
    optional: bool = False,
    remarks: list[str] | None = None,
    conditions: bool = False,
    backbones_apart: bool = False,
) -> list[Row]:
    """The rows that stand, of one backbone and data; a contradicted number is an undefined one.

    Of each line they are of one version, configuration, auxiliary set and so on, the newest run's, as in a leaderboard.

    backbones_apart: for a table whose lines say their backbones, and may be of any.

    conditions: those of corrupted images and other wordings too, which no standard table has; those of each condition
    are then of one data.
    remarks: gets a sentence on everything that was left out, which is printed too.

    Raises:
        UnknownNameError: no such suite. RowError: none there (unless optional), or some that should not be mixed.
    """
    if suite not in SUITES:
        raise UnknownNameError(registry.did_you_mean("suite", suite, SUITES))
    folder = rows_folder(options, suite)
    folder = folder / "rows" if (folder / "rows").is_dir() else folder
    if optional and not options.from_ and not folder.is_dir():
        return []
    loaded = store.read(store.row_files(folder))
    current = store.current(loaded.rows)
    left_out = [f"Two values for one number in one run, neither is used: {one}." for one in current.conflicts]
    left_out += [f"Left out: {one.message(one.path.name)}." for one in loaded.torn]
    left_out += [f"From the future: {one}." for one in store.ahead(loaded.rows)]
    for sentence in left_out:
        console.print(sentence, style="red")
    rows = current.with_gaps() if conditions else store.standard(current.with_gaps())
    if options.backbone:
        backbones = listed(options.backbone, {row.backbone for row in rows})
        rows = [row for row in rows if row.backbone in (*backbones, "none")]
    by_condition: dict[Condition | None, list[Row]] = {}
    for row in rows:
        by_condition.setdefault(of_options(row.data_options), []).append(row)
    rows = []
    for condition, own in by_condition.items():
        if not options.mixed:
            on_others = {*SUITES[suite].backbones, *with_own_backbones(suite)}
            refuse_mixed(own, _MIXED, on_others, several=backbones_apart)
        own, sentences = comparable(own)
        for sentence in sentences:
            left_out.append(f"Left out: {sentence}{f' ({condition})' if condition else ''}.")
            console.print(left_out[-1], style="yellow")
        rows += own
    if remarks is not None:
        remarks += left_out
    return rows


def wanted_rows(
    options: RowsOptions, console: Console, suite: str, only: Mapping[str, str | None], remarks: list[str]
) -> list[Row]:
    """The rows of `chosen_rows` that the options want.

    only: field -> names with commas, or None. remarks: gets what was left out.

    Raises:
        RowError: none are left.
    """
    return _only(chosen_rows(options, console, suite, remarks=remarks), only)


def conditioned(rows: Sequence[Row], suite: str, only: Mapping[str, str | None]) -> list[Row]:
    """The rows that a table of robustness is made from.

    rows: of all conditions, as `chosen_rows` gives them. only: field -> names with commas, or None.

    Raises:
        RowError: none are left, or none is of a condition.
    """
    kept = _only(rows, only, untrained=True)
    if len(store.standard(kept)) == len(kept):
        recipe = "robustness_demo" if SUITES[suite].generated else "robustness"
        raise RowError(
            f"none of {len(kept)} rows of suite {suite} is of corrupted images or other words; run `zsad-bench sweep "
            f"{recipe}`, or bench with --corruption or --wording"
        )
    return kept


def _only(rows: Sequence[Row], only: Mapping[str, str | None], untrained: bool = False) -> list[Row]:
    """Those with these values. untrained: what does not train stays under every prior.

    Raises:
        RowError: none are left.
    """
    rows = list(rows)
    for field, names in only.items():
        if names:
            wanted = listed(names, {getattr(row, field) for row in rows})
            if untrained and field == "prior":
                wanted.append("none")
            kept = [row for row in rows if getattr(row, field) in wanted]
            if not kept:
                there = ", ".join(sorted({getattr(row, field) for row in rows})) or "none"
                raise RowError(f"no rows with {field} {names}; there are {there}")
            rows = kept
    return rows


def refuse_two_settings(rows: Iterable[Row]) -> None:
    """Nothing, where the rows of each method, variant and prior ran on one backbone, image size and precision.

    rows: as `chosen_rows` gives them, for what does not keep these apart.

    Raises:
        RowError: they ran on several; says which, and what to do.
    """
    ran_on: dict[tuple, Row] = {}
    for row in rows:
        first = ran_on.setdefault((row.method, row.variant, row.prior), row)
        for field, what_to_do in _SETTINGS.items():
            one, other = getattr(first, field), getattr(row, field)
            if one != other:
                raise RowError(
                    f"{row.method} {row.variant or 'as it is'}, prior {row.prior}: rows of more than one "
                    f"{field.replace('_', ' ')}, {one} and {other}; {what_to_do}"
                )


_SETTINGS = {
    "backbone": "choose with --backbone",
    "image_size": "choose a folder of rows with --from",
    "precision": "choose a folder of rows with --from",
}


def listed(text: str, known: Collection[str] = ()) -> list[str]:
    """The names of an option like "dive,clip", each once; a known one (of an own folder) may have commas in it."""
    found: list[str] = []
    pieces = text.split(",")
    while pieces:
        runs = [",".join(pieces[:end]).strip() for end in range(len(pieces), 0, -1)]
        name = next((run for run in runs if run in known), runs[-1])
        pieces = pieces[len(pieces) - runs.index(name) :]
        found += [name] if name else []
    return list(dict.fromkeys(found))
