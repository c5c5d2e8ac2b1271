"""The command line: finds the file of a command, reads its options, runs it. Nothing here imports torch.

A file of `commands/` is a command: `bench.py` is `zsad-bench bench`, `data_check.py` is `zsad-bench data check`,
`import_checkpoint.py` is `zsad-bench import-checkpoint`. It holds a dataclass `Options` (see `options.py`) and
`run(options)`, which prints and returns the exit code; its docstring is its help. What starts with `_` they share.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from zsad_bench import commands, completion, options, outputs, process
from zsad_bench.errors import UsageError, ZsadError
from zsad_bench.printable import never_fail_to_print, say
from zsad_bench.registry import did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

GROUPS = {  # first words that several files have in common, with what help says of each
    "data": "Find, check and fetch datasets, make the generated ones.",
    "export": "Write what was learned for other programs: the authors' code, ONNX.",
    "figure": "The papers' figures and others, as SVG and PNG.",
    "rows": "Merge, verify, compare and export rows of leaderboards.",
    "table": "Tables from rows: leaderboards, the papers', any other.",
    "track": "Push rows to wandb, and make a dashboard there, see docs/wandb.md.",
    "weights": "List, fetch, convert and check weights of backbones, see docs/weights.md.",
}
HELP = ("-h", "--help")


def main() -> int:
    """Runs the command line; returns the exit code: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C."""
    never_fail_to_print()
    if completion.ASKED in os.environ:
        return _complete()
    process.prepare()
    debug = sys.argv[1:2] == ["--debug"]
    names, rest = split(sys.argv[2 if debug else 1 :])
    asked = " ".join(("zsad-bench", *names))
    try:
        if rest and rest[0] in HELP and not is_command(names):
            print(_page(names), end="")
            return 0
        module = load(names, rest)
        if any(word in HELP for word in rest):
            print(options.usage(module.Options, asked, module.__doc__ or "") + _below(names), end="")
            return 0
        given = options.parse(module.Options, rest)
    except UsageError as error:
        say(f"{asked}: {error}; see {asked} --help", error=True)
        return error.exit_code
    return _run(module, given, debug)


def _complete() -> int:
    """Prints what may be typed next, a word per line: what a shell asks for (`commands/completion.py`).

    Prints nothing where anything is wrong, since a shell would show it in the middle of a line.
    """
    with contextlib.suppress(Exception):
        known = files()
        found = completion.candidates(sys.argv[1:] or [""], known, lambda names: load(names, []).Options)
        print("\n".join(found))
    return 0


def _run(module: ModuleType, given: DataclassInstance, debug: bool) -> int:
    try:
        for option, path, kind in options.outputs(given):
            if option == "--runs" or not getattr(given, "dry_run", False):  # a dry run keeps its plan among the runs
                {"folder": outputs.check_folder, "file": outputs.check_file}[kind](path, option)
        code: int = module.run(given)
        return code
    except KeyboardInterrupt:
        say("zsad-bench: stopped; rows that were complete are kept", error=True)
        return 130
    except BrokenPipeError:  # the reader of a pipe went away (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        if isinstance(error, ZsadError):
            say(f"zsad-bench: {error}", error=True)
            return error.exit_code
        said = f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
        say(f"zsad-bench: {said}; --debug shows where it was raised", error=True)
        return 1


def files() -> dict[tuple[str, ...], str]:
    """The words of each command -> the name of its file."""
    stems = sorted(file.name for file in pkgutil.iter_modules(commands.__path__) if not file.name.startswith("_"))
    return {_words(stem): stem for stem in stems}


def _words(stem: str) -> tuple[str, ...]:
    group, _, name = stem.partition("_")
    return (group, name.replace("_", "-")) if name and group in GROUPS else (stem.replace("_", "-"),)


def is_command(names: tuple[str, ...]) -> bool:
    return names in files()


def split(words: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """The words that name a command or a group, and those behind them; `_` is as good as `-`.

    So is a hyphen between the words of a command: `export-checkpoint` was its name before it was in a group.
    """
    for count in (2, 1):
        names = tuple(word.replace("_", "-") for word in words[:count])
        if is_command(names) or (count == 1 and names and names[0] in GROUPS):
            return names, words[count:]
    hyphened = {"-".join(names): names for names in files()}
    if words and (names := hyphened.get(words[0].replace("_", "-"), ())):
        return names, words[1:]
    return (), words


def load(names: tuple[str, ...], rest: list[str]) -> ModuleType:
    """The file of a command.

    Raises:
        UsageError: the words name none.
    """
    if is_command(names):
        return importlib.import_module(f"zsad_bench.commands.{files()[names]}")
    if not rest:
        raise UsageError(f"expected one of the commands {', '.join(_next_words(names))}")
    if rest[0].startswith("-"):
        raise UsageError(did_you_mean("option", rest[0].partition("=")[0], ["--help", *([] if names else ["--debug"])]))
    raise UsageError(did_you_mean("command", rest[0], _next_words(names)))


def _next_words(names: tuple[str, ...]) -> dict[str, str]:
    """What may stand behind a group, or first -> what it does."""
    at = len(names)
    below = {words[at]: words for words in files() if words[:at] == names and len(words) > at}
    return {word: GROUPS.get(word, "") or _summary(words) for word, words in below.items()}


def _summary(names: tuple[str, ...]) -> str:
    """The first line of a command's docstring, for which the file is not imported."""
    text = Path(commands.__path__[0], f"{files()[names]}.py").read_text(encoding="utf-8")
    return text.split('"""', 2)[1].split("\n")[0]


def _page(names: tuple[str, ...]) -> str:
    asked = " ".join(("zsad-bench", *names))
    about = GROUPS[names[0]] if names else "Benchmark suite for zero-shot visual anomaly detection."
    debug = "" if names else "\n--debug before a command shows tracebacks.\n"
    return f"usage: {asked} COMMAND [options]\n\n{about}\n{_below(names)}\n{asked} COMMAND --help says more.\n{debug}"


def _below(names: tuple[str, ...]) -> str:
    """A line for each command below a group."""
    if (names and names[0] not in GROUPS) or len(names) > 1:
        return ""
    words = _next_words(names)
    width = max(map(len, words))
    return "\ncommands:\n" + "".join(f"  {word:{width}}  {about}\n" for word, about in words.items())


if __name__ == "__main__":
    raise SystemExit(main())
