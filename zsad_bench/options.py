"""What a command takes, declared by the fields of a dataclass: read from the words of a command line, written as help.

    @dataclass(frozen=True, kw_only=True)
    class Options:
        name: Annotated[str, Argument("NAME", "of the dataset")]
        epochs: Annotated[int | None, Option("N", "instead of the method's own", at_least=0)] = None
        on_bad_image: Annotated[Literal["stop", "skip"], Option(help="skip counts what it leaves out")] = "stop"
        executor: ExecutorOptions  # another such dataclass, whose options stand among these

A field without a default has to be typed. An underscore is a hyphen on the command line, and one at the end is dropped.
Words are split and help is printed by argparse; every refusal is a `UsageError` of ours, with the name as it is typed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from zsad_bench.errors import UsageError
from zsad_bench.registry import did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
Reader = Callable[[str, str], object]  # (text, the option as it is typed) -> value; raises UsageError


@dataclass(frozen=True)
class Option:
    """Typed as `--name VALUE`; of a bool, `--name` alone.

    value: what stands for the value in help; "" is the choices. repeated: each time that it is typed adds a value.
    read: makes the value of the text, else the field's type does. writes: whether it names an output, which is tried
    before anything is computed. what: a choice is called in a refusal. names: which names the value is one of, for a
    shell that completes it (`completion.py`).
    """

    value: str = ""
    help: str = ""
    at_least: int | None = None
    repeated: bool = False
    read: Reader | None = None
    writes: Literal["", "folder", "file"] = ""
    what: str = ""
    names: Literal["", "methods", "datasets", "recipes", "protocols"] = ""


@dataclass(frozen=True)
class Argument(Option):
    """Typed by its place alone; `repeated` takes all that is left."""


class Field(NamedTuple):
    """An option as it stands among the fields. path: of names, from the outermost dataclass in."""

    path: tuple[str, ...]
    option: Option
    type: Any  # a type, or what typing makes of one
    default: object

    @property
    def is_flag(self) -> bool:
        return self.type is bool

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @property
    def name(self) -> str:
        """As it is typed: `--on-bad-image`, or what stands for an argument."""
        if isinstance(self.option, Argument):
            return self.value
        return "--" + self.path[-1].rstrip("_").replace("_", "-")

    @property
    def value(self) -> str:
        """What stands for the value: `N`, or its choices."""
        return self.option.value or "|".join(map(str, get_args(self.type)))

    @property
    def typed(self) -> str:
        """All that is typed: `--epochs N`, `[NAME]`."""
        if isinstance(self.option, Argument):
            return self.value if self.required else f"[{self.value}]"
        return self.name if self.is_flag else f"{self.name} {self.value}"


def declared(cls: type[DataclassInstance], path: tuple[str, ...] = ()) -> Iterator[Field]:
    """The options of a dataclass, those of the dataclasses inside it in their place."""
    hints = get_type_hints(cls, include_extras=True)
    for field in fields(cls):
        hint = hints[field.name]
        if isinstance(hint, type) and is_dataclass(hint):
            yield from declared(hint, (*path, field.name))
            continue
        of_value, option = get_args(hint)
        some = [arg for arg in get_args(of_value) if arg is not NoneType]
        if NoneType in get_args(of_value):
            (of_value,) = some
        yield Field((*path, field.name), option, of_value, field.default)


def parse(cls: type[T], words: Sequence[str]) -> T:
    """The options that words of a command line give.

    Raises:
        UsageError: an unknown option, a value of another type, too few words or too many.
    """
    known = list(declared(cls))
    arguments = [field for field in known if isinstance(field.option, Argument)]
    options = {field.name: field for field in known if field not in arguments}
    cut = list(words).index("--") if "--" in words else len(words)  # what follows it is never an option
    try:
        found, rest = _splitter(options.values()).parse_known_args(words[:cut])
    except argparse.ArgumentError as error:
        field = options[str(error.argument_name)]
        raise UsageError(f"{field.name}: expected {'nothing' if field.is_flag else field.value} after it") from None
    if unknown := next((word for word in rest if word.startswith("-") and word != "-"), None):
        raise UsageError(did_you_mean("option", unknown.partition("=")[0], [*options, "--help"]))
    given: dict[Field, list[str]] = {options[name]: texts for name, texts in vars(found).items()}
    rest += words[cut + 1 :]
    for field in arguments:
        taken = len(rest) if field.option.repeated else 1
        given |= {field: rest[:taken]} if rest else {}
        rest = rest[taken:]
    if rest:
        takes = " ".join(field.typed for field in arguments)
        meant = f"it takes {takes} and options" if takes else "it takes options alone"
        raise UsageError(f"does not take {' '.join(rest)}; {meant}")
    if missing := [field.typed for field in known if field.required and field not in given]:
        raise UsageError(f"missing {' and '.join(missing)}")
    return _built(cls, {field.path: _value(field, texts) for field, texts in given.items()}, ())


def usage(cls: type[DataclassInstance], command: str, about: str) -> str:
    """The text of `--help`. command: as it is typed; about: what it does."""
    known = list(declared(cls))
    must = [field.typed for field in known if field.required or isinstance(field.option, Argument)]
    parser = _splitter([field for field in known if not isinstance(field.option, Argument)])
    parser.usage, parser.description = " ".join([command, *must, "[options]"]), about.replace("%", "%%")
    for field in known:
        if isinstance(field.option, Argument):
            parser.add_argument(field.path[-1], metavar=field.value, help=_help(field))
    parser.add_argument("-h", "--help", action="help", help="this text")
    return parser.format_help()


def outputs(options: DataclassInstance) -> Iterator[tuple[str, str, Literal["folder", "file"]]]:
    """What options name as outputs: (option as it is typed, path, what it is to be)."""
    for field in declared(type(options)):
        value: Any = options
        for name in field.path:
            value = getattr(value, name)
        if field.option.writes and value is not None:
            yield field.name, value, field.option.writes


def split_names(text: str, option: str) -> tuple[str, ...]:
    """The names of a list with commas, each once.

    Raises:
        UsageError: the list has no name.
    """
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise UsageError(f"{option}: expected one or more names separated by commas, found '{text}'")
    return found


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in split_names(text, option))
    except ValueError:
        raise UsageError(f"{option} {text}: expected whole numbers, separated by commas") from None
    if not all(0 <= number < 2**32 for number in found):  # what numpy takes as a seed
        raise UsageError(f"{option} {text}: expected numbers from 0 to 4294967295")
    return found


def _splitter(options: Iterable[Field]) -> argparse.ArgumentParser:
    """Splits words into options and the rest; an option that was typed has a list of texts."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for field in options:
        name, about, absent = field.name, _help(field), argparse.SUPPRESS
        if field.is_flag:
            parser.add_argument(name, dest=name, default=absent, help=about, action="append_const", const="true")
        else:
            parser.add_argument(name, dest=name, default=absent, help=about, action="append", metavar=field.value)
    return parser


def _help(field: Field) -> str:
    default = field.default
    if field.required or default is None or default is False or default == ():
        return field.option.help.replace("%", "%%")
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{field.option.help} (default: {shown})".strip().replace("%", "%%")


def _value(field: Field, texts: list[str]) -> object:
    option = field.option
    if field.is_flag:
        return True
    if "" in texts and (option.repeated or option.read or field.type is str):  # a shell variable that is not set, say
        raise UsageError(f"{field.name}: empty; give {field.value}{'' if field.required else ', or leave it out'}")
    if option.repeated:
        return tuple(texts)
    text = texts[-1]
    if option.read is not None:
        return option.read(text, field.name)
    if get_origin(field.type) is Literal:
        choices = get_args(field.type)
        if text not in choices:
            raise UsageError(did_you_mean(option.what or f"value of {field.name}", text, choices))
        return text
    if get_origin(field.type) is tuple:
        return (_numbers if get_args(field.type)[0] is int else split_names)(text, field.name)
    if field.type is str:
        return text
    expected = {int: "a whole number", float: "a number"}[field.type]
    try:
        value = field.type(text)
    except ValueError:
        raise UsageError(f"{field.name} {text or repr(text)}: expected {expected}") from None
    if option.at_least is not None and not value >= option.at_least:
        raise UsageError(f"{field.name} {text}: expected {expected} from {option.at_least}")
    return value


def _built(cls: type[T], values: Mapping[tuple[str, ...], object], path: tuple[str, ...]) -> T:
    hints = get_type_hints(cls)
    made = {}
    for field in fields(cls):
        here = (*path, field.name)
        if is_dataclass(hints[field.name]):
            made[field.name] = _built(hints[field.name], values, here)
        elif here in values:
            made[field.name] = values[here]
    return cls(**made)
