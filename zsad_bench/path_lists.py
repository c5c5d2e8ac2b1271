"""Texts that name several things, paths among them: a path that exists is taken whole, whatever characters it has.

    --targets 'folder:/a/lot 7, left,visa'           two targets, if a folder "/a/lot 7, left" exists
    --prior @/a/2026-11-26T10:30/kept.jsonl:shots=4  a manifest and an item, if such a file exists

Of several ends that exist the farthest counts. Rows hold a path in one spelling (`spell`) that needs no file to be read
back: separators, percent signs and what cannot be printed stand byte by byte, as `%` and two digits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

from zsad_bench.errors import UsageError

_PATH = re.compile(r"\s*(@|(?:folder|csv):)")  # what a path stands behind
_SPELT = "%+:,"  # and what cannot be printed


def targets(text: str, option: str = "--targets") -> list[str]:
    """The targets of a list with commas, each once: names, and `folder:PATH` or `csv:FILE`.

    Raises:
        UsageError: no path exists behind `folder:` or `csv:`, and a comma stands where it may end.
    """
    return list(dict.fromkeys(piece for _, piece in _pieces(text, ",", option) if piece))


def priors(text: str, option: str = "--prior") -> list[str]:
    """The priors of a list with commas, each once and as it was written.

    Raises:
        UsageError: as `targets`.
    """
    found = [""]
    for before, piece in _pieces(text, ",+:", option):
        if before == ",":
            found.append("")
        found[-1] += piece if before in ("", ",") else before + piece
    return list(dict.fromkeys(filter(None, found)))


def parts(spec: str) -> list[list[str]]:
    """The parts of a prior as it was asked for, each its base and its items: `a:b=1+@c` is [["a", "b=1"], ["@c"]].

    Raises:
        UsageError: no path exists behind `@`, `folder:` or `csv:`, and a separator stands where it may end.
    """
    return _grouped(_pieces(spec, "+:", f"prior '{spec}'"))


def parts_of_name(name: str) -> list[list[str]]:
    """The same of a prior's name as rows hold it, whose paths `spell` wrote; they need not exist."""
    return _grouped(_pieces(name, "+:", "", exists=False))


def spell(base: str) -> str:
    """A base of a prior as rows hold it: its path in the spelling that needs no file to be read back."""
    start = _PATH.match(base)
    if start is None:
        return base
    return start[1] + "".join(map(_letter, base[start.end() :]))


def home(path: str | Path) -> Path:
    """The path with `~` and `~user` as a shell reads them; a name that only begins so is left as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - that of pathlib raises for an unknown user


def _pieces(text: str, separators: str, asked: str, exists: bool = True) -> Iterator[tuple[str, str]]:
    """(the separator before it, the piece without blanks around it), from the left."""
    at, before = 0, ""
    while True:
        start = _PATH.match(text, at)
        first = start.end() if start else at
        ends = [first + found.start() for found in re.finditer(f"[{re.escape(separators)}]", text[first:])]
        ends.append(len(text))
        if start and exists:
            path, end = _longest(text, first, ends, separators, asked)
        else:
            path, end = text[first : ends[0]].strip(), ends[0]
        yield before, (start[1] if start else "") + path
        if end == len(text):
            return
        before, at = text[end], end + 1


def _longest(text: str, first: int, ends: list[int], separators: str, asked: str) -> tuple[str, int]:
    """(the path, where it ends): the farthest end at which something lies; with no separator, the whole text."""
    for end in reversed(ends):
        path = text[first:end]
        for written in dict.fromkeys((path, path.strip(), _unspelt(path.strip()))):
            if written and os.path.exists(home(written)):  # noqa: PTH110 - never raises
                return written, end
    path = text[first : ends[0]].strip()
    if path and len(ends) > 1:
        named = {",": "a comma", "+": "a plus", ":": "a colon"}
        meant = " or ".join(named[each] for each in separators)
        raise UsageError(
            f"{asked}: '{path}' does not exist, nor does any longer path; {meant} separates, unless it is in a path "
            "that exists: correct the path"
        )
    return path, ends[0]


def _letter(letter: str) -> str:
    if letter.isprintable() and letter not in _SPELT:
        return letter
    return "".join(f"%{byte:02X}" for byte in os.fsencode(letter))


def _unspelt(path: str) -> str:
    return os.fsdecode(unquote_to_bytes(os.fsencode(path))) if "%" in path else path


def _grouped(pieces: Iterator[tuple[str, str]]) -> list[list[str]]:
    found: list[list[str]] = []
    for before, piece in pieces:
        if before == ":":
            found[-1].append(piece)
        else:
            found.append([piece])
    return found
