"""Which conditions there are: corruptions by severity, and wordings; from what a user names to the list of them."""

from __future__ import annotations

from collections.abc import Iterable

from zsad_bench.conditions import SEVERITIES, Condition, parse
from zsad_bench.data import corruptions
from zsad_bench.errors import UnknownNameError, UsageError
from zsad_bench.prompts import wordings
from zsad_bench.registry import did_you_mean

ALL = "all"


def checked(text: str) -> Condition:
    """The condition that a text means.

    Raises:
        UsageError: it has not the form of one. UnknownNameError: a corruption or wording that does not exist.
    """
    condition = parse(text)
    if condition.kind == "corruption":
        corruptions.check(condition.name)
    else:
        check_wording(condition.name)
    return condition


def check_wording(name: str) -> None:
    """Nothing where there is a wording of this name.

    Raises:
        UnknownNameError: there is none; lists the nearest.
    """
    if name not in wordings.wordings():
        raise UnknownNameError(did_you_mean("wording", name, wordings.wordings()))


def corrupted(asked: Iterable[str], severities: Iterable[int] = SEVERITIES) -> tuple[str, ...]:
    """The conditions of corruptions that are named, each once: "jpeg:3", or "jpeg" in these severities; "all" is each.

    Raises:
        UnknownNameError: no such corruption. UsageError: a severity that is not a whole number from 1 to 5.
    """
    severities = tuple(severities)
    for severity in severities:
        if type(severity) is not int or severity not in SEVERITIES:
            raise UsageError(f"severity {severity!r}: expected whole numbers from 1 to 5")
    conditions: dict[str, None] = {}
    for entry in asked:
        name, colon, alone = entry.partition(":")
        for one in corruptions.CORRUPTIONS if name == ALL else [name]:
            corruptions.check(one)
            if colon and alone not in map(str, SEVERITIES):
                raise UsageError(f"corruption {entry}: expected a severity from 1 to 5, as in {one}:3")
            wanted = (int(alone),) if colon else severities
            conditions |= {str(Condition("corruption", one, each)): None for each in wanted}
    return tuple(conditions)


def reworded(asked: Iterable[str]) -> tuple[str, ...]:
    """The conditions of wordings that are named, each once; "all" is each.

    Raises:
        UnknownNameError: no such wording.
    """
    conditions: dict[str, None] = {}
    for entry in asked:
        for one in wordings.wordings() if entry == ALL else [entry]:
            check_wording(one)
            conditions[str(Condition("wording", one))] = None
    return tuple(conditions)
