"""`zsad-bench bench`: always computes, group after group, then prints and regenerates the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from zsad_bench import registry
from zsad_bench.commands import table
from zsad_bench.data import prior as priors
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.errors import UnknownNameError
from zsad_bench.leaderboard import rows as store
from zsad_bench.sweep import suite
from zsad_bench.sweep.build import configure, parse_settings, trains
from zsad_bench.sweep.cell import CellGroup, run


def bench(methods: list[str], specs: list[str], seeds: list[int], options: Any) -> None:
    """Runs methods x priors x seeds on the suite's targets.

    Without training a prior and a seed change nothing: such a method runs once, with the first of them.

    Raises:
        ZsadError: wrong names or options before anything runs; later failures keep the rows that were complete.
    """
    console = Console(soft_wrap=False)
    chosen, why = suite.choose(options.suite)
    if why:
        console.print(why, highlight=False, soft_wrap=True)
    settings = parse_settings(options.set)
    for name in methods:
        configure(name, {**chosen.overrides_for(name), **settings})
    for spec in specs:
        _check_prior(spec, chosen.name, needed=any(trains(name) for name in methods))
    targets = tuple(suite.pick_targets(chosen, options.targets))
    _licences(targets, console)
    board = Path(options.out) / chosen.name
    done: list[store.Row] = []
    folders: list[Path] = []
    for number, (spec, seed) in enumerate((spec, seed) for spec in specs for seed in seeds):
        due = [name for name in methods if _due(name, first=number == 0, first_spec=spec == specs[0])]
        if not due:
            continue
        titles = ", ".join(registry.load("methods", name).title for name in due)
        console.rule(f"{titles} · prior {spec} · seed {seed}")
        group = CellGroup(
            suite=chosen,
            methods=tuple(due),
            prior=spec,
            targets=targets,
            seed=seed,
            backbone=options.backbone,
            weights=options.weights,
            checkpoint=Path(options.checkpoint) if options.checkpoint else None,
            epochs=options.epochs,
            settings=settings,
            board=board,
            runs=Path(options.runs),
        )
        record = run(group, console)
        done += record.rows
        folders.append(Path(options.runs) / record.run_id)
    table.show(done, chosen, console)
    table.regenerate(chosen.name, options.out)
    for what, place in (
        ("tables", board / "README.md"),
        ("rows", board / "rows"),
        ("run", ", ".join(map(str, folders))),
    ):
        console.print(f"{what}: {place}", highlight=False, soft_wrap=True)


def _check_prior(spec: str, suite_name: str, needed: bool) -> None:
    """Without training a prior is only a name: its auxiliary dataset need not be there."""
    if needed:
        priors.resolve(spec, suite_name)
    elif spec not in priors.names():
        raise UnknownNameError(registry.did_you_mean("prior", spec, priors.names()))


def _due(method: str, *, first: bool, first_spec: bool) -> bool:
    """Trained methods run in every group, those that only draw once a seed, the others once."""
    if trains(method):
        return True
    return first_spec if registry.load("methods", method).draws_at_test else first


def _licences(targets: tuple[str, ...], console: Console) -> None:
    for name in targets:
        cls: type[ZeroShotDataModule] = registry.load("datasets", name)
        if not cls.redistribute:
            console.print(f"{cls.title}: {cls.licence}", highlight=False)
