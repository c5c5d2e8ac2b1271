"""The command line: parse, call one function, print. Nothing here imports torch before a command needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from jsonargparse import Namespace

from zsad_bench import outputs, path_lists, registry
from zsad_bench.arguments import OFFICIAL, command_line
from zsad_bench.errors import UnknownNameError, UsageError, ZsadError
from zsad_bench.printable import never_fail_to_print, say
from zsad_bench.tracking.access import check as check_track

_WHOSE = ("board", "from", "backbone", "mixed")
TABLE_OPTIONS = {  # what each kind of table takes beside --out
    "SUITE": (),
    "paper": _WHOSE,
    "status": (*_WHOSE, "runs"),
    "claims": _WHOSE,
    "paired": (*_WHOSE, "suite", "metric", "prior", "method", "dataset"),
    "pivot": (*_WHOSE, "suite", "metric", "prior", "method", "dataset", "rows", "cols"),
    "prior_curve": (*_WHOSE, "suite", "metric", "method"),
    "dive_claims": (*_WHOSE, "suite", "prior"),
}
WRITES = {  # what each command writes: options that name a folder, and a file
    "bench": (("out", "runs"), ()),
    "sweep": (("out", "runs"), ()),
    "data fetch": (("into",), ()),
    "data samples": ((), ("out",)),
    "data stats": ((), ("out",)),
    "data prior": ((), ("out",)),
    "table": (("out",), ()),
    "figure": (("out",), ()),
    "page": ((), ("out",)),
    "rows merge": (("out",), ()),
    "rows export": ((), ("out",)),
    "import-checkpoint": ((), ("out",)),
    "export-checkpoint": ((), ("out",)),
}
CAUSES = "; --debug shows where it was raised"


def main() -> int:
    """Runs the command line; returns the exit code: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C."""
    never_fail_to_print()
    args = command_line().parse_args()
    try:
        _try_outputs(_path(args), _options(args))
        return _commands()[_path(args)](_options(args)) or 0
    except ZsadError as error:
        if args.debug:
            raise
        say(f"zsad-bench: {error}", error=True)
        return error.exit_code
    except KeyboardInterrupt:
        say("zsad-bench: stopped; rows that were complete are kept", error=True)
        return 130
    except BrokenPipeError:  # the reader of a pipe went away (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if args.debug:
            raise
        say(f"zsad-bench: unexpected {type(error).__name__}: {' '.join(str(error).split())}{CAUSES}", error=True)
        return 1


def _path(args: Namespace) -> str:
    action = getattr(args[args.command], "action", None)
    return f"{args.command} {action}" if action else args.command


def _options(args: Namespace) -> Namespace:
    options = args[args.command]
    action = getattr(options, "action", None)
    return options[action] if action else options


def _try_outputs(command: str, options: Namespace) -> None:
    """Says before anything is done that its results could not be written.

    Raises:
        ZsadError: as the functions of `outputs`.
    """
    if getattr(options, "name", None) == "list" and command == "figure":
        return  # it prints
    folders, files = WRITES.get(command, ((), ()))
    if getattr(options, "dry_run", False):
        folders = tuple(name for name in folders if name == "runs")  # where the plan is kept
    for name in folders:
        if options[name] is not None:
            outputs.check_folder(options[name], f"--{name}")
    for name in files:
        if options[name] is not None:
            outputs.check_file(options[name], f"--{name}")


def _commands() -> dict[str, Callable[[Any], int | None]]:
    return {
        "bench": bench,
        "sweep": sweep,
        "status": status,
        "ls": ls,
        "data list": data_list,
        "data check": data_check,
        "data fetch": data_fetch,
        "data samples": data_samples,
        "data stats": data_stats,
        "data prior": data_prior,
        "data make-demo": make_demo,
        "table": table,
        "figure": figure,
        "page": page,
        "rows merge": rows_merge,
        "rows verify": rows_verify,
        "rows export": rows_export,
        "track sync": track_sync,
        "track dashboard": track_dashboard,
        "import-checkpoint": import_checkpoint,
        "export-checkpoint": export_checkpoint,
        "doctor": doctor,
    }


def bench(options: Namespace) -> None:
    """Checks names before anything slow is imported, then runs."""
    methods = _names(options.method, "--method")
    priors = path_lists.priors(options.prior) or _names(options.prior, "--prior")
    known = registry.names("methods")
    for name in methods:
        if name not in known:
            raise UsageError(registry.did_you_mean("method", name, known))
    seeds = _numbers(options.seed, "--seed")
    draws = [None] if options.draw is None else _numbers(options.draw, "--draw")
    if options.on_bad_image not in ("stop", "skip"):
        raise UsageError(registry.did_you_mean("value of --on-bad-image", options.on_bad_image, ("stop", "skip")))
    check_track(options.track)
    from zsad_bench.commands.bench import bench as run

    run(methods, priors, seeds, draws, options)


def sweep(options: Namespace) -> int:
    for option in ("together", "threads"):
        if options[option] is not None and options[option] < 1:
            raise UsageError(f"--{option} {options[option]}: expected a whole number from 1")
    check_track(options.track)
    from zsad_bench.commands.sweep import sweep as run

    return run(options.recipe, options)


def status(options: Namespace) -> int:
    from zsad_bench.commands.status import status as run

    return run(options.recipe, options)


def ls(options: Namespace) -> None:
    from zsad_bench.commands.ls import ls as run

    run(options.what)


def data_list(options: Namespace) -> None:
    from zsad_bench.commands.data_list import show

    show(options)


def data_check(options: Namespace) -> int:
    if options.name != "all":
        _known_dataset(options.name)
    from zsad_bench.commands.data_check import check

    return check(options)


def data_fetch(options: Namespace) -> int | None:
    _known_dataset(options.name)
    from zsad_bench.commands.data_fetch import fetch

    return fetch(options)


def data_samples(options: Namespace) -> int | None:
    _known_dataset(options.name)
    from zsad_bench.commands.data_samples import samples

    return samples(options)


def data_stats(options: Namespace) -> None:
    from zsad_bench.commands.data_stats import stats

    stats(options)


def data_prior(options: Namespace) -> None:
    from zsad_bench.commands.data_prior import prior

    prior(options)


def make_demo(options: Namespace) -> None:
    if options.seed < 0:
        raise UsageError(f"--seed {options.seed}: expected a whole number from 0")
    from zsad_bench.commands.data import make_demo as run

    run(options.seed)


def table(options: Namespace) -> None:
    """Refuses options that the table has no use for, then makes it."""
    what = options.what if options.what in TABLE_OPTIONS and (options.what != "paper" or options.name) else "SUITE"
    if options.name and what != "paper":
        raise UsageError(f"table {options.what}: found {options.name} as well; only `table paper` takes a name")
    given = [name for name in ("out", "runs", *TABLE_OPTIONS["pivot"]) if options[name]]
    if unused := [f"--{name}" for name in given if name != "out" and name not in TABLE_OPTIONS[what]]:
        known = " ".join(f"--{name}" for name in ("out", *TABLE_OPTIONS[what]))
        raise UsageError(f"table {options.what}: no use for {', '.join(unused)}; it takes {known}")
    if options.out or what != "pivot":
        outputs.check_folder(options.out or ("leaderboards" if what == "SUITE" else "tables"), "--out")
    if what == "SUITE":
        from zsad_bench.commands.table import regenerate

        regenerate(options.what, options.out or "leaderboards")
        return
    from zsad_bench.commands import table_papers as make

    options.board = options.board or "leaderboards"
    if what != "pivot":
        options.out = options.out or "tables"
    if what in ("prior_curve", "dive_claims"):
        from zsad_bench.commands import table_statistics

        {"prior_curve": table_statistics.curve, "dive_claims": table_statistics.claims}[what](options)
    elif what == "paper":
        make.paper(options.name, options)
    elif what == "status":
        from zsad_bench.commands.table_status import status

        status(options)
    else:
        {"pivot": make.pivot, "claims": make.claim, "paired": make.compare}[what](options)


def figure(options: Namespace) -> int:
    """Checks the name and its options before anything slow is imported, then draws."""
    from zsad_bench.leaderboard.figures.catalogue import EVERY, FIGURES

    if options.name == "list":
        for name, entry in FIGURES.items():
            say(f"{name:17} {entry.shows}")
            say(f"{'':17} needs {entry.needs}")
        return 0
    if options.name not in (*FIGURES, "all"):
        raise UnknownNameError(registry.did_you_mean("figure", options.name, [*FIGURES, "all", "list"]))
    takes = FIGURES[options.name].options if options.name in FIGURES else EVERY
    given = [name for name in dict.fromkeys(n for entry in FIGURES.values() for n in entry.options)
             if options[name] is not None]  # fmt: skip
    if unused := [f"--{name}" for name in given if name not in takes]:
        known = " ".join(f"--{name}" for name in takes) or "none of those that choose"
        raise UsageError(f"figure {options.name}: no use for {', '.join(unused)}; it takes {known}")
    from zsad_bench.commands.figure import figure as run

    return run(options.name, options)


def page(options: Namespace) -> None:
    from zsad_bench.commands.page import page as run

    run(options)


def rows_merge(options: Namespace) -> None:
    from zsad_bench.commands.rows import merge

    merge(options.folders, options.out)


def rows_verify(options: Namespace) -> int:
    from zsad_bench.commands.rows import verify

    return verify(options.folder)


def rows_export(options: Namespace) -> None:
    from zsad_bench.commands.rows import export

    export(options.folder, options.out)


def track_sync(options: Namespace) -> None:
    from zsad_bench.commands.track import sync

    sync(options)


def track_dashboard(options: Namespace) -> None:
    from zsad_bench.commands.track import dashboard

    dashboard(options)


def import_checkpoint(options: Namespace) -> None:
    if options.method not in OFFICIAL:
        raise UsageError(registry.did_you_mean("official method", options.method, OFFICIAL))
    from zsad_bench.commands.checkpoint import import_checkpoint as run

    run(options)


def export_checkpoint(options: Namespace) -> None:
    from zsad_bench.commands.checkpoint import export_checkpoint as run

    run(options)


def doctor(options: Namespace) -> None:
    from zsad_bench.commands.doctor import doctor as run

    run()


def _known_dataset(asked: str) -> None:
    name, known = asked.partition(":")[0], registry.names("datasets")
    if name not in known:
        raise UnknownNameError(registry.did_you_mean("dataset", name, known))


def _numbers(text: str, option: str) -> list[int]:
    try:
        numbers = [int(part) for part in _names(text, option)]
    except ValueError:
        raise UsageError(f"{option} {text}: expected whole numbers, separated by commas") from None
    if not all(0 <= number < 2**32 for number in numbers):  # what numpy takes
        raise UsageError(f"{option} {text}: expected numbers from 0 to 4294967295")
    return numbers


def _names(text: str, option: str) -> list[str]:
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise UsageError(f"{option}: expected one or more names separated by commas, found '{text}'")
    return names


if __name__ == "__main__":
    raise SystemExit(main())
