"""The command line: parse, call one function, print. Nothing here imports torch before a command needs it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from zsad_bench import registry
from zsad_bench.errors import UsageError, ZsadError

CAUSES = "; --debug shows where it was raised"


class Parser(ArgumentParser):
    """Wrong usage is one line and exit code 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        line = " ".join(str(message).split())
        said = line.split()
        unknown = next((word for word in sys.argv[1:] if word.startswith("--") and word in said), None)
        known = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        if unknown and ("nrecognized" in line or "not found" in line or "does not accept" in line):
            line = registry.did_you_mean("option", unknown.partition("=")[0], known)
        wrong = re.search(r"invalid choice: '(.+?)' \(choose from (.+)\)", line)
        if wrong:
            line = registry.did_you_mean("command", wrong[1], re.findall(r"'(.+?)'", wrong[2]))
        line = re.sub(r"\b(?:bench|ls|data|table)\.(\w+)", r"\1", line)
        prog = self.prog.replace(" [options]", "")
        print(f"{prog}: {line}; see {prog} --help", file=sys.stderr)
        raise SystemExit(2)


def main() -> int:
    """Runs the command line; returns the exit code: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C."""
    args = _parser().parse_args()
    try:
        return _commands()[_path(args)](_options(args)) or 0
    except ZsadError as error:
        if args.debug:
            raise
        print(f"zsad-bench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("zsad-bench: stopped; rows that were complete are kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe went away (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if args.debug:
            raise
        print(f"zsad-bench: unexpected {type(error).__name__}: {' '.join(str(error).split())}{CAUSES}", file=sys.stderr)
        return 1


def _parser() -> Parser:
    parser = Parser(
        prog="zsad-bench",
        description="Benchmark suite for zero-shot visual anomaly detection.",
        allow_abbrev=False,  # a mistyped option is told, not guessed
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subcommands(dest="command", metavar="COMMAND")
    commands.add_subcommand("bench", _bench_parser(), help="train, test, and write rows and tables")
    commands.add_subcommand("ls", _ls_parser(), help="what there is: methods, datasets, priors, backbones")
    data = Parser(description="Datasets.")
    commands.add_subcommand("data", data, help="make the generated datasets")
    commands.add_subcommand("table", _table_parser(), help="regenerate a leaderboard's tables from its rows")
    commands.add_subcommand("doctor", Parser(description="Devices, weights, datasets, versions, what auto takes."),
                            help="devices, weights, datasets, versions")  # fmt: skip
    actions = data.add_subcommands(dest="action", metavar="ACTION")
    actions.add_subcommand("make-demo", _make_demo_parser(), help="generate the demo datasets into the cache")
    return parser


def _bench_parser() -> Parser:
    parser = Parser(description="Train methods under a prior, test them on targets, write rows and tables.")
    add = parser.add_argument
    add("--method", type=str, required=True, metavar="NAME[,NAME…]", help="see `zsad-bench ls methods`")
    add("--prior", type=str, required=True, metavar="SPEC[,SPEC…]", help="see `zsad-bench ls priors`")
    add("--suite", type=str, default="auto", metavar="auto|demo|paper", help="targets, backbone and image size")
    add(
        "--targets", type=str, metavar="NAME[,NAME…]", help="datasets to test; default: all of the suite that are found"
    )
    add("--backbone", type=str, metavar="NAME", help="an open_clip name, local-dir:FOLDER, or tiny")
    add("--weights", type=str, metavar="PATH", help="a pretrained tag, or a file of weights on this machine")
    add("--checkpoint", type=str, metavar="FILE", help="test this instead of training (one method)")
    add("--seed", type=str, default="0", metavar="N[,N…]", help="of training; several run one after the other")
    add("--epochs", type=int, metavar="N", help="instead of the method's own")
    add(
        "--set",
        type=str,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a field of the method's configuration",
    )
    add("--out", type=str, default="leaderboards", metavar="FOLDER", help="where <suite>/rows and tables go")
    add("--runs", type=str, default="runs", metavar="FOLDER", help="where configuration, checkpoint and log go")
    return parser


def _ls_parser() -> Parser:
    parser = Parser(description="List what is registered.")
    parser.add_argument("what", type=str, metavar="methods|datasets|priors|backbones")
    return parser


def _make_demo_parser() -> Parser:
    parser = Parser(description="Generate the demo datasets into the cache (ZSAD_CACHE), unless they are there.")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another draw of all images; the suite uses 0")
    return parser


def _table_parser() -> Parser:
    parser = Parser(description="Regenerate the tables of a leaderboard from its rows.")
    parser.add_argument("suite", type=str, metavar="SUITE")
    parser.add_argument("--out", type=str, default="leaderboards", metavar="FOLDER")
    return parser


def _path(args: Namespace) -> str:
    action = getattr(args[args.command], "action", None)
    return f"{args.command} {action}" if action else args.command


def _options(args: Namespace) -> Namespace:
    options = args[args.command]
    action = getattr(options, "action", None)
    return options[action] if action else options


def _commands() -> dict[str, Callable[[Any], int | None]]:
    return {
        "bench": bench,
        "ls": ls,
        "data make-demo": make_demo,
        "table": table,
        "doctor": doctor,
    }


def bench(options: Namespace) -> None:
    """Checks names before anything slow is imported, then runs."""
    methods, priors = _names(options.method, "--method"), _names(options.prior, "--prior")
    known = registry.names("methods")
    for name in methods:
        if name not in known:
            raise UsageError(registry.did_you_mean("method", name, known))
    try:
        seeds = [int(part) for part in _names(options.seed, "--seed")]
    except ValueError:
        raise UsageError(f"--seed {options.seed}: expected whole numbers, separated by commas") from None
    if not all(0 <= seed < 2**32 for seed in seeds):  # what numpy takes
        raise UsageError(f"--seed {options.seed}: expected numbers from 0 to 4294967295")
    from zsad_bench.commands.bench import bench as run

    run(methods, priors, seeds, options)


def ls(options: Namespace) -> None:
    from zsad_bench.commands.ls import ls as run

    run(options.what)


def make_demo(options: Namespace) -> None:
    from zsad_bench.commands.data import make_demo as run

    run(options.seed)


def table(options: Namespace) -> None:
    from zsad_bench.commands.table import regenerate

    regenerate(options.suite, options.out)


def doctor(options: Namespace) -> None:
    from zsad_bench.commands.doctor import doctor as run

    run()


def _names(text: str, option: str) -> list[str]:
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise UsageError(f"{option}: expected one or more names separated by commas, found '{text}'")
    return names


if __name__ == "__main__":
    raise SystemExit(main())
