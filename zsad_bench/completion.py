"""What may be typed next on a command line: commands, options, values with choices, and registered names.

A shell asks by running the command line itself, with the words typed so far and the variable `ASKED` (see
`commands/completion.py`). So a plug-in's method is completed as soon as it is installed, and nothing is generated that
could be out of date.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, get_args, get_origin

from zsad_bench import assets, protocol, registry
from zsad_bench.options import Argument, Field, declared

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ASKED = "ZSAD_BENCH_COMPLETE"
Path = tuple[str, ...]  # of a command: ("data", "check")


def candidates(
    words: Sequence[str], commands: Collection[Path], options_of: Callable[[Path], type[DataclassInstance]]
) -> list[str]:
    """The words that may stand in the place of the last one, sorted; [] where a file may, or nothing is known.

    words: behind the program's name; the last one is what was begun, "" for nothing. options_of: the options of a
    command.
    """
    *before, begun = [word for number, word in enumerate(words) if number or word != "--debug"] or [""]
    path = next((tuple(before[:n]) for n in (2, 1) if tuple(before[:n]) in commands and len(before) >= n), ())
    below = {command[len(before)] for command in commands if command[: len(before)] == tuple(before) != command}
    found = set(below) if len(before) == len(path) or not path else set()
    if path:
        found |= set(_of_options(before[len(path) :], begun, list(declared(options_of(path)))))
    return sorted(word for word in found if word.startswith(begun))


def _of_options(before: Sequence[str], begun: str, known: Sequence[Field]) -> Iterable[str]:
    options = {field.name: field for field in known if not isinstance(field.option, Argument)}
    last = before[-1] if before else ""
    if last in options and not options[last].is_flag:
        return _values(options[last], begun)
    if begun.startswith("-"):
        used = {word for word in before if word in options and not options[word].option.repeated}
        return {*(set(options) - used), "--help"}
    arguments = [field for field in known if isinstance(field.option, Argument)]
    return {value for field in arguments for value in _values(field, begun)}


def _values(field: Field, begun: str) -> Iterable[str]:
    if get_origin(field.type) is Literal:
        return map(str, get_args(field.type))
    room = field.option.names
    if not room:
        return []
    if room == "recipes":
        return [file.stem for file in assets.data_folder(room).glob("*.yaml")]
    if room == "protocols":
        return protocol.names()
    start, comma, _ = begun.rpartition(",")
    many = "," in field.value  # a list, as in NAME[,NAME…]
    return [f"{start}{comma}{name}" for name in registry.names(room) if many or not comma]
