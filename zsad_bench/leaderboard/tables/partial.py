"""Numbers measured, or learned from, on part of the data: which they are, and what is said of them.

Such a number is marked wherever it stands, is never the best of anything, and is compared with no printed one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from zsad_bench.results.row import Row

MARK = "†"
_FIELDS = ("target", "category", "n_images", "n_skipped", "target_partial", "auxiliary", "auxiliary_partial")
_SEEN = attrgetter(*_FIELDS)
_NAMED = 4  # places that a sentence names before it counts


class Partial(NamedTuple):
    """What is not whole. said: "12 of 16 images". category: "" of a whole target; target: "" of auxiliary data."""

    target: str
    category: str
    said: str


class Partials:
    """Of some rows, which were measured on fewer images than there are: than their dataset has, than could be read, or
    than other rows of the same category were measured on; and which learned from part of their auxiliary data."""

    def __init__(self, rows: Iterable[Row]) -> None:
        seen = set(map(_SEEN, rows))
        whole: dict[tuple[str, str], int] = {}
        for target, category, images, skipped, *_ in seen:
            whole[target, category] = max(whole.get((target, category), 0), images + skipped)
        found = {one: _parts(one, whole[one[:2]]) for one in seen}
        self._of = {one: parts for one, parts in found.items() if parts}

    def __bool__(self) -> bool:
        return bool(self._of)

    def of(self, row: Row) -> tuple[Partial, ...]:
        """What is not whole about this row; () for nearly every one."""
        return self._of.get(_SEEN(row), ())


def _parts(one: tuple, whole: int) -> tuple[Partial, ...]:
    target, category, images, skipped, of_target, auxiliary, of_auxiliary = one
    found = []
    if of_target:
        found.append(Partial(target, "", f"{of_target} images"))
    if images < whole:
        unread = f" ({skipped} could not be read and were left out)" if skipped else ""
        found.append(Partial(target, category, f"{images} of {whole} images{unread}"))
    if of_auxiliary:
        named = of_auxiliary if not of_auxiliary[:1].isdigit() else f"{auxiliary} {of_auxiliary}"
        found.append(Partial("", "", f"auxiliary data {named} images"))
    return tuple(found)


def told(parts: Iterable[Partial], title: Callable[[str], str] = str) -> str:
    """The parts in a few words: "ISIC 36 of 3000 images; mvtec/carpet 12 of 16 images"."""
    words = []
    for part in sorted(set(parts)):
        place = "/".join(name for name in (part.target and title(part.target), part.category) if name)
        words.append(f"{place} {part.said}".strip())
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED + 1 else ""
    return "; ".join(words[:_NAMED] if more else words) + more


def note(marked: Mapping[str, Sequence[Partial]], n_lines: int, title: Callable[[str], str] = str) -> str:
    """The sentence under a table with marked numbers, "" where nothing is marked.

    marked: name of a line -> its parts. n_lines: of the table; what all of them have is said once.
    """
    lines: dict[Partial, list[str]] = {}
    for name, parts in marked.items():
        for part in dict.fromkeys(parts):
            lines.setdefault(part, []).append(name)
    by_lines: dict[tuple[str, ...], list[Partial]] = {}
    for part, names in sorted(lines.items(), key=lambda item: (-len(item[1]), item)):
        by_lines.setdefault(tuple(names), []).append(part)
    told_of = [
        f"{'Every line' if len(names) == n_lines else _listed(names)}: {told(parts, title)}."
        for names, parts in by_lines.items()
    ]
    return " ".join([f"{MARK} On part of the data, so not ranked and compared with nothing.", *told_of] * bool(lines))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED + 1 else ""
    return ", ".join(names[:_NAMED] if more else names) + more


def union(found: Iterable[Sequence[Hashable]]) -> tuple:
    """Everything once, in order of appearance."""
    return tuple(dict.fromkeys(part for parts in found for part in parts))
