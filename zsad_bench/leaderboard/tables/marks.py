"""What is marked in tables: numbers on part of the data, of methods that score a whole test set at once, of maps that
others saved, and methods that remark on their numbers.

A number of the first three kinds carries its sign in every table and is never the best of anything. A remark is a
raised number beside the name of its method and changes no rank; nor does the sign behind the name of a method that was
never compared with its official code. The lines below a table say what each of them means.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple, Protocol

from zsad_bench.results.row import Row

PARTIAL, TRANSDUCTIVE, EXTERNAL = "†", "§", "‡"
UNVERIFIED = "¶"  # behind the name of a method
_FIELDS = ("target", "category", "n_images", "n_skipped", "target_partial", "auxiliary", "auxiliary_partial",
           "maps_hash")  # fmt: skip
_COUNTS = attrgetter(*_FIELDS)
_NAMED = 4  # places that a sentence names before it counts
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class Partial(NamedTuple):
    """What is not whole. text: "12 of 16 images". category: "" of a whole target; target: "" of auxiliary data."""

    target: str
    category: str
    text: str


class Remark(NamedTuple):
    """What a method remarks on its numbers on a category, in its own words."""

    target: str
    category: str
    text: str


class Marked(Protocol):
    """A number that may carry signs. parts: what of the data behind it is not whole. remarks: of its method."""

    @property
    def parts(self) -> tuple[Partial, ...]: ...

    @property
    def transductive(self) -> bool: ...

    @property
    def external(self) -> bool: ...

    @property
    def remarks(self) -> tuple[Remark, ...]: ...


class Partials:
    """Of some rows, which were measured on fewer images than there are: than their dataset has, than could be read, or
    than other rows of the same category were measured on; and which learned from part of their auxiliary data."""

    def __init__(self, rows: Iterable[Row]) -> None:
        distinct = set(map(_COUNTS, rows))
        whole: dict[tuple[str, str], int] = {}
        for target, category, images, skipped, *_ in distinct:
            whole[target, category] = max(whole.get((target, category), 0), images + skipped)
        parts = {counts: _parts(counts, whole[counts[:2]]) for counts in distinct}
        self._parts = {counts: some for counts, some in parts.items() if some}

    def __bool__(self) -> bool:
        return bool(self._parts)

    def of(self, row: Row) -> tuple[Partial, ...]:
        """What is not whole about this row; () for nearly every one."""
        return self._parts.get(_COUNTS(row), ())


def _parts(counts: tuple, whole: int) -> tuple[Partial, ...]:
    target, category, images, skipped, target_part, auxiliary, auxiliary_part, maps = counts
    parts = []
    if target_part:
        parts.append(Partial(target, "", f"{target_part} images"))
    if images < whole:
        why = "had no map or score" if maps else "could not be read"
        unread = f" ({skipped} {why} and were left out)" if skipped else ""
        parts.append(Partial(target, category, f"{images} of {whole} images{unread}"))
    if auxiliary_part:
        named = auxiliary_part if not auxiliary_part[:1].isdigit() else f"{auxiliary} {auxiliary_part}"
        parts.append(Partial("", "", f"auxiliary data {named} images"))
    return tuple(parts)


def signs(number: Marked) -> str:
    """What stands behind the number: "†", "§", "‡", several of them or nothing."""
    return PARTIAL * bool(number.parts) + TRANSDUCTIVE * number.transductive + EXTERNAL * number.external


def describe(parts: Iterable[Partial], title: Callable[[str], str] = str) -> str:
    """The parts in a few words: "ISIC 36 of 3000 images; mvtec/carpet 12 of 16 images"."""
    words = []
    for part in sorted(set(parts)):
        place = "/".join(name for name in (part.target and title(part.target), part.category) if name)
        words.append(f"{place} {part.text}".strip())
    return _listed(words, "; ")


def numbered(texts: Iterable[str]) -> dict[str, str]:
    """Each distinct remark with its mark, in alphabetical order: {"generic details": "¹"}; "" is none."""
    return {text: str(i).translate(_RAISED) for i, text in enumerate(sorted({*texts} - {""}), 1)}


def texts(numbers: Iterable[Marked]) -> str:
    """What methods remark on these numbers, each text once, as a CSV file has it."""
    return "; ".join(sorted({remark.text for number in numbers for remark in number.remarks}))


def raised(numbers: Iterable[Marked], numbering: Mapping[str, str]) -> str:
    """What stands beside the name of a line with these numbers: "¹", "¹,²" or nothing. numbering: as `numbered`."""
    found = {remark.text for number in numbers for remark in number.remarks}
    return ",".join(mark for text, mark in numbering.items() if text in found)


def notes(
    lines: Mapping[str, Iterable[Marked]],
    n_lines: int = 0,
    title: Callable[[str], str] = str,
    numbering: Mapping[str, str] | None = None,
    n_categories: int = 0,
) -> list[str]:
    """The sentences under a table, one for each sign and remark that the table contains.

    lines: name of a line -> its numbers. n_lines: of the table; what applies to all of them is printed once. numbering:
    marks of remarks, as `numbered`. n_categories: of the table; a remark on all of them names none.
    """
    by_name = {name: list(numbers) for name, numbers in lines.items()}
    names_of: dict[Partial, list[str]] = {}
    for name, numbers in by_name.items():
        for part in union(number.parts for number in numbers):
            names_of.setdefault(part, []).append(name)
    by_names: dict[tuple[str, ...], list[Partial]] = {}
    for part, names in sorted(names_of.items(), key=lambda item: (-len(item[1]), item)):
        by_names.setdefault(tuple(names), []).append(part)
    sentences = []
    if by_names:
        behind = [
            f"{'Every line' if len(names) == n_lines else _listed(names)}: {describe(parts, title)}."
            for names, parts in by_names.items()
        ]
        head = f"{PARTIAL} On part of the data, so not ranked and compared with nothing."
        sentences.append(" ".join([head, *behind]))
    if whole_sets := [name for name, numbers in by_name.items() if any(number.transductive for number in numbers)]:
        sentences.append(
            f"{TRANSDUCTIVE} Transductive, seeing all test images of a category before any is scored, so not ranked "
            f"beside methods that see one image at a time: {_listed(whole_sets)}."
        )
    if handed_in := [name for name, numbers in by_name.items() if any(number.external for number in numbers)]:
        sentences.append(
            f"{EXTERNAL} Computed here from saved maps or scores, whose method was not run here, so not ranked beside "
            f"methods that were: {_listed(handed_in)}."
        )
    return sentences + _remarks(by_name, numbering or {}, title, n_categories)


def _remarks(
    lines: Mapping[str, Sequence[Marked]], numbering: Mapping[str, str], title: Callable[[str], str], n_categories: int
) -> list[str]:
    """A sentence for each remark, with the lines that it is made on and the categories, unless it is on all."""
    sentences = []
    for text, mark in numbering.items():
        by_places: dict[tuple[str, ...], list[str]] = {}
        for name, numbers in lines.items():
            found = {remark for number in numbers for remark in number.remarks if remark.text == text}
            places = sorted(f"{title(remark.target)}/{remark.category}" for remark in found)
            if places:
                by_places.setdefault(() if len(places) == n_categories else tuple(places), []).append(name)
        behind = [_listed(names) + (f" ({_listed(places)})" if places else "") for places, names in by_places.items()]
        if behind:
            sentences.append(
                f"{mark} Remark of the method, so not compared with printed numbers: {text.rstrip('.')}. "
                f"{'; '.join(behind)}."
            )
    return sentences


def unverified_note(reasons: Mapping[str, str]) -> list[str]:
    """The sentence under a table on methods that were never compared with their official code; [] where there is none.

    reasons: the method as printed -> why it was not.
    """
    by_reason: dict[str, list[str]] = {}
    for name, why in sorted(reasons.items(), key=lambda item: item[0].casefold()):
        by_reason.setdefault(why, []).append(name)
    said = "; ".join(f"{', '.join(names)} ({why})" for why, names in by_reason.items())
    return [f"{UNVERIFIED} Not verified against official code: {said}."] if said else []


def union(groups: Iterable[Iterable[Hashable]]) -> tuple:
    """Everything once, in order of appearance."""
    return tuple(dict.fromkeys(one for group in groups for one in group))


def _listed(names: Sequence[str], comma: str = ", ") -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED + 1 else ""
    return comma.join(names[:_NAMED] if more else names) + more
