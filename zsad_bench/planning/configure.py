"""Methods by name, with overrides checked against their configuration's types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from zsad_bench import registry, yaml12
from zsad_bench.errors import UnknownNameError, UsageError, ZsadError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from zsad_bench.backbones.base import Backbone
    from zsad_bench.methods.base import ZeroShotMethod

# What `configure` made: a plan asks for one configuration hundreds of times, and checking it takes a hundredth of a
# second. They are frozen.
_configured: dict[tuple[type[Any], str], Any] = {}


def parse_settings(settings: Iterable[str], option: str = "--set", paths: Iterable[str] = ()) -> dict[str, Any]:
    """`["lr=1e-4", "taps=[6,12]"]` as a dict; values are read as YAML. option: what the user typed them behind.

    paths: last parts of keys (`root` of `visa.root`) whose values are paths, and taken as they stand.

    Raises:
        UsageError: an entry without `=`, or a value that is not YAML.
    """
    parsed: dict[str, Any] = {}
    for entry in settings:
        key, sign, text = entry.partition("=")
        if not sign or not key.strip():
            raise UsageError(f"{option} {entry}: expected key=value, for example --set lr=0.0001")
        if key.strip().rpartition(".")[2] in paths:
            parsed[key.strip()] = text
            continue
        try:
            parsed[key.strip()] = yaml12.load(text)
        except (yaml.YAMLError, ValueError):  # ValueError: such as an impossible date
            raise UsageError(f"{option} {entry}: '{text}' is not a YAML value; quote it") from None
    return parsed


def configure(method: str, overrides: Mapping[str, Any]) -> Any:
    """The method's configuration with these fields replaced, each checked against its declared type.

    Raises:
        UnknownNameError: a field it does not have. UsageError: a value of another type.
    """
    cls = registry.load("methods", method).Config
    asked = (cls, repr(sorted(overrides.items())))  # types too: True is not 1
    if asked not in _configured:
        _configured[asked] = _configure(method, cls, overrides)
    return _configured[asked]


def _configure(method: str, cls: Any, overrides: Mapping[str, Any]) -> Any:
    known = {field.name: field for field in fields(cls)}
    for key in overrides:
        if key not in known:
            raise UnknownNameError(registry.did_you_mean(f"option of {method}", key, known))
    hints = get_type_hints(cls)
    if all(_is_plainly(value, hints[key]) for key, value in overrides.items()):
        return cls(**overrides)
    parser = _parser(cls)
    checked = _parsed(parser, overrides)
    for key, value in overrides.items():
        open_ = bool(known[key].metadata.get("filled"))  # until `resolve`, None is as good as what is declared
        fits = value is not None or open_ or NoneType in get_args(hints[key])  # jsonargparse takes None for anything
        if checked is None:  # one of them does not fit: which?
            fits = fits and _parsed(parser, {key: value}) is not None
        if not fits:
            declared = f"{known[key].type} | None" if open_ else str(known[key].type)
            choice = get_origin(hints[key]) is Literal and not open_
            wanted = f"one of {', '.join(get_args(hints[key]))}" if choice else declared
            raise UsageError(
                f"{method}: {key}={value!r} does not fit; expected {wanted}{_as_a_list(key, value, declared)}"
            )
    if checked is None:  # each fits alone, and all of them do not
        checked = parser.parse_object(dict(overrides))
    return cls(**{name: _frozen(checked[name]) for name in known})


def build(method: str, backbone: Backbone, overrides: Mapping[str, Any], seed: int) -> ZeroShotMethod:
    """A method on a backbone; `seed` goes into its configuration when that has one and it was not set."""
    cls = registry.load("methods", method)
    if "seed" in {field.name for field in fields(cls.Config)}:
        overrides = {"seed": seed, **overrides}
    built: ZeroShotMethod[Any] = cls(backbone, configure(method, overrides))
    return built


def necessary(
    built: ZeroShotMethod, name: str, settings: Mapping[str, Any], beneath: Mapping[str, Any]
) -> dict[str, Any]:
    """Those of the settings that the configuration of a built method would be another one without.

    What stands at its default, changes no number, or is part of a preset that is named anyway, is left out: however a
    configuration is spelled, its rows are one line. name: of the method. beneath: the overrides under the settings.
    """
    from zsad_bench.methods.base import what_counts

    def counts(overrides: Mapping[str, Any]) -> dict[str, Any]:
        seed = {"seed": built.config.seed} if "seed" in {field.name for field in fields(built.Config)} else {}
        return what_counts(type(built).resolve(configure(name, {**seed, **beneath, **overrides}), built.backbone))

    kept, whole = dict(settings), built.resolved_config()
    for key in sorted(settings, key=lambda key: (key == "fidelity", key)):  # a preset may stand for all others
        rest = {other: value for other, value in kept.items() if other != key}
        try:
            kept = rest if counts(rest) == whole else kept
        except ZsadError:  # without it there is no such configuration
            continue
    return kept


def trains(method: str, overrides: Mapping[str, Any] | None = None) -> bool:
    """Whether a method learns anything, in its usual configuration or with these fields replaced.

    Raises:
        UsageError, UnknownNameError: as `configure`.
    """
    cls = registry.load("methods", method)
    return bool(cls.trains(configure(method, overrides) if overrides else None))


def takes_epochs(method: str) -> bool:
    """Whether `--epochs` means something to it: one that trains in several stretches may have fields of its own."""
    return trains(method) and "epochs" in {field.name for field in fields(registry.load("methods", method).Config)}


def encodes_alone(cls: type[ZeroShotMethod]) -> bool:
    """Whether a method changes what is encoded, so that no other method can use the same pass over the images.

    What shares an encoder is decided here alone: plans ask it to make groups, and the shared pass to merge requests.
    """
    from zsad_bench.methods.base import ZeroShotMethod

    return cls.encode is not ZeroShotMethod.encode


def _is_plainly(value: Any, declared: Any) -> bool:
    """Whether a value is of a simple type as it stands, so that no parser is needed; True is not an int, 1 not a float.

    Plans of the demo have no other values, and making the parsers of all methods takes half a second.
    """
    if get_origin(declared) is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(declared))
    if get_origin(declared) in (Union, UnionType):
        types = [one for one in get_args(declared) if one is not NoneType]
        return len(types) == 1 and (value is None or _is_plainly(value, types[0]))
    return declared in (bool, int, float, str) and type(value) is declared


@cache
def _parser(cls: type[Any]) -> ArgumentParser:
    """Reads a configuration's fields by their types. Building it takes ten times as long as using it once."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls)
    return parser


def _parsed(parser: ArgumentParser, values: Mapping[str, Any]) -> Any:
    """All fields with these values and the defaults; None where a value does not fit."""
    try:
        return parser.parse_object(dict(values))
    except Exception:  # its own message is several lines long
        return None


def _as_a_list(key: str, value: Any, declared: str) -> str:
    """How a list is written, where one is expected and something else was given."""
    if "tuple[" not in declared or isinstance(value, list | tuple | dict) or value is None:
        return ""
    return f"; a list is written {key}=[{value}]"


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
