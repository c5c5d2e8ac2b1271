"""Wrong usage of the command line as one line: what was typed, by the name it is typed with, and whose help to read."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from jsonargparse import ArgumentParser

from zsad_bench import registry
from zsad_bench.printable import say

_TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false"}


class Parser(ArgumentParser):
    """Wrong usage is one line and exit code 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        parser, message = _typed(self, sys.argv[1:]), " ".join(str(message).split())
        said = _missing(parser, message) or _wrong_type(parser, message) or _unknown(parser, message)
        line = said or _value_missing(parser, message) or message
        prog = parser.prog.replace(" [options]", "")
        say(f"{prog}: {line}; see {prog} --help", error=True)
        raise SystemExit(2)


def commands(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    """The commands directly below a parser, by name."""
    return next((action.choices for action in parser._actions if isinstance(action.choices, dict)), {})


def as_typed(action: argparse.Action) -> str:
    """What a user types for it: `--out FOLDER`, or the name of a positional argument."""
    if action.option_strings:
        return " ".join([_option(action), *([action.metavar or ""] if action.nargs != 0 else [])]).strip()
    name = str(action.metavar or action.dest)
    return f"[{name}]" if action.nargs in ("?", "*") else name


def _option(action: argparse.Action) -> str:
    return max(action.option_strings, key=len)


def _typed(parser: ArgumentParser, words: list[str]) -> ArgumentParser:
    """The parser of the command that the words name, from this parser down."""
    for word in words:
        if word in commands(parser):
            parser = commands(parser)[word]
        elif not any(word.partition("=")[0] in action.option_strings for action in parser._actions):
            break  # an option or a command that there is not
    return parser


def _action(parser: ArgumentParser, name: str) -> argparse.Action | None:
    """What a message calls `export.out` or `out`, with the commands before it or without them."""
    return next((action for action in parser._actions if action.dest == name.strip().rpartition(".")[2]), None)


def _missing(parser: ArgumentParser, message: str) -> str | None:
    if re.search(r'expected ".*" to be one of {.*?}, but it was not provided', message):
        return f"expected one of the commands {', '.join(commands(parser))}"
    found = re.search(r"arguments are required: (.+)", message)
    if not found:
        return None
    named = [_action(parser, name) for name in found[1].split(",")]
    return f"missing {' and '.join(as_typed(action) for action in named if action)}" if any(named) else None


def _wrong_type(parser: ArgumentParser, message: str) -> str | None:
    found = re.search(r'Parser key "(.+?)": Expected a <class \'(\w+)\'>\. Got value:(.*)', message)
    action = _action(parser, found[1]) if found else None
    if found is None or action is None:
        return None
    name = _option(action) if action.option_strings else as_typed(action)
    value = _value(action.option_strings) or found[3].strip() or "''"
    return f"{name} {value}: expected {_TYPES.get(found[2], found[2])}"


def _value(names: Sequence[str]) -> str:
    """The last value of an option as it was typed; a message has what became of it (1000.0 of 1e3)."""
    words = sys.argv[1:]
    after = [word.partition("=")[2] or following for word, following in zip(words, [*words[1:], ""], strict=True)
             if word.partition("=")[0] in names]  # fmt: skip
    return after[-1] if after else ""


def _unknown(parser: ArgumentParser, message: str) -> str | None:
    if found := re.search(r"invalid choice: '(.+?)' \(choose from (.+)\)", message):
        return registry.did_you_mean("command", found[1], commands(parser) or re.findall(r"'(.+?)'", found[2]))
    found = re.search(r"(?:nrecognized arguments:|not found|does not accept)(.*)", message)
    if not found:
        return None
    said = message.split()
    if option := next((word for word in sys.argv[1:] if word.startswith("-") and word != "-" and word in said), None):
        known = [text for action in parser._actions for text in action.option_strings
                 if text.startswith("--") and text != "--print_shtab"]  # fmt: skip
        return registry.did_you_mean("option", option.partition("=")[0], known)
    takes = [as_typed(action) for action in parser._actions if not action.option_strings and not action.choices]
    meant = f"it takes {' '.join(takes)} and options" if takes else "it takes options alone"
    return f"no use for {found[1].strip()}; {meant}"


def _value_missing(parser: ArgumentParser, message: str) -> str | None:
    found = re.fullmatch(r"argument (\S+): expected (?:one|at least one) argument", message)
    if not found:
        return None
    action = next((action for action in parser._actions if found[1].split("/")[-1] in action.option_strings), None)
    return f"{found[1]}: expected {action.metavar if action else 'a value'} after it"
