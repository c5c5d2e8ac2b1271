"""How a variant differs from its method: the options that differ, and how people read them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

UNPARSED = "unparsed"  # the option that holds an old row's text, where its meaning is not certain
_OFFICIAL = "official checkpoint"  # how schema 1 said {"checkpoint": "official"}
_WORD = re.compile(r"[A-Za-z][\w./-]*", re.ASCII)  # what YAML reads as text without quotes,
_NO_TEXT = frozenset("true false yes no on off y n null nan inf infinity".split())  # but for these


def _no_json(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_JSON, _TO_JSON = json.JSONDecoder(parse_constant=_no_json), json.JSONEncoder(allow_nan=False, sort_keys=True)


def _spelled(options: Mapping[str, Any]) -> str:
    if options.keys() == {UNPARSED}:
        return str(options[UNPARSED])
    return ", ".join(f"{key}={spell_value(value)}" for key, value in options.items())


def spell_value(value: Any) -> str:
    """A value as it is typed behind `--set`, and as YAML reads it: words bare, lists in brackets, the rest as JSON."""
    if isinstance(value, str):
        bare = _WORD.fullmatch(value) and value.lower() not in _NO_TEXT
        return value if bare else json.dumps(value, ensure_ascii=not value.isprintable())
    if isinstance(value, Sequence):
        return f"[{', '.join(map(spell_value, value))}]"
    return json.dumps(value)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


class Variant(Mapping[str, Any]):
    """An immutable mapping from option to value; empty for the method as it is. Hashable, and sorted by its spelling.

    Values are what JSON can hold, lists as tuples. Options are those of the method's configuration that differ from the
    suite, `augment` (of training images) and `checkpoint` ("official" for an imported one). `str()` is how people
    read it, wherever it is printed, and is never read back; values stand as they are typed behind `--set`.

    Raises:
        TypeError: a value that JSON cannot hold. ValueError: nan or infinity.
    """

    __slots__ = ("_hash", "_json", "_options", "_spelled")

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self._json = _TO_JSON.encode(dict(options or {}))
        self._options: dict[str, Any] = {key: _frozen(value) for key, value in json.loads(self._json).items()}
        self._spelled = _spelled(self._options)
        self._hash = hash(self._json)

    def __getitem__(self, option: str) -> Any:
        return self._options[option]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def __len__(self) -> int:
        return len(self._options)

    def __eq__(self, other: object) -> bool:
        """Whether it says the same: true is not 1, and 1 is not 1.0."""
        return self is other or (isinstance(other, Variant) and self._json == other._json)

    def __hash__(self) -> int:
        return self._hash

    def __lt__(self, other: Variant) -> bool:
        return (self._spelled, self._json) < (other._spelled, other._json)

    def __str__(self) -> str:
        return self._spelled

    def __repr__(self) -> str:
        return f"Variant({self._options})"


PLAIN = Variant()


def differing(
    settings: Mapping[str, Any], epochs: int | None = None, augment: Sequence[str] = (), precision: str = "float32"
) -> Variant:
    """The variant of a method whose configuration has these settings, instead of the suite's.

    epochs: None for the method's own. augment: of training images; () for none. precision: of the frozen towers; any
    but float32 is a variant, so that no table averages or compares two of them.
    """
    trained = {} if epochs is None else {"epochs": epochs}
    computed = {} if precision == "float32" else {"precision": precision}
    return Variant({**settings, **trained, **({"augment": list(augment)} if augment else {}), **computed})


def variant_of(stored: str | Mapping[str, Any]) -> Variant:
    """The variant that a row or checkpoint has: a mapping, or the text that schema 1 kept.

    Raises:
        TypeError: neither, or a value that JSON cannot hold. ValueError: nan or infinity.
    """
    if isinstance(stored, str):
        return from_text(stored) if stored else PLAIN
    if isinstance(stored, Variant):
        return stored
    if not isinstance(stored, (dict, Mapping)):  # dict: asked first, as it is found at once
        raise TypeError(f"a variant is a mapping of options, found {stored!r}")
    return _read(repr(stored)) or Variant(stored) if stored else PLAIN


@lru_cache(maxsize=4096)  # a board has few variants and many rows
def _read(written: str) -> Variant | None:
    """The variant of options as Python writes them, which is the quickest way; None where it is not a literal."""
    try:
        return Variant(ast.literal_eval(written))
    except (ValueError, SyntaxError):
        return None


@lru_cache(maxsize=4096)
def from_text(text: str) -> Variant:
    """The variant that a text of schema 1 spells: `key=json` by name, joined by commas, then `augment=flip+blur`.

    What would not be spelled by this very text stays whole, under `UNPARSED`.
    """
    options = _parsed(text)
    return Variant({UNPARSED: text} if options is None or _text_of_schema_1(options) != text else options)


def _parsed(text: str) -> dict[str, Any] | None:
    options: dict[str, Any] = {}
    rest = text
    if rest == _OFFICIAL or rest.startswith(f"{_OFFICIAL},"):
        options["checkpoint"], rest = "official", rest[len(_OFFICIAL) + 1 :]
    rest, separator, names = rest.rpartition("augment=")
    if not separator or not re.fullmatch(r"\w+(\+\w+)*", names) or rest[-1:] not in ("", ","):
        rest += separator + names
    else:
        options["augment"], rest = names.split("+"), rest[:-1]
    while rest:
        key, sign, rest = rest.partition("=")
        try:
            value, end = _JSON.raw_decode(rest)
        except ValueError:
            return None
        if not key or not sign or key in options or rest[end : end + 1] not in ("", ","):
            return None
        options[key], rest = value, rest[end + 1 :]
    return options


def _text_of_schema_1(options: Mapping[str, Any]) -> str:
    own = {key: value for key, value in options.items() if key not in ("augment", "checkpoint")}
    parts = [_OFFICIAL] if "checkpoint" in options else []
    parts += [f"{key}={json.dumps(value)}" for key, value in sorted(own.items())]
    if "augment" in options:
        parts.append(f"augment={'+'.join(options['augment'])}")
    return ",".join(parts)
