"""Other words for what a category shows, for tests of how much a method's numbers depend on its prompts' nouns.

`object` takes the noun away: every category is called "object". The others are in `wordings.yaml`.
"""

from __future__ import annotations

from functools import cache

from zsad_bench.prompts.load import read

OBJECT = "object"


@cache
def wordings() -> dict[str, str]:
    """Name of each wording -> what it does with a noun, in words."""
    described: dict[str, str] = read("wordings")["wordings"]
    return {OBJECT: 'the noun removed: "object" for every category', **described}


def noun_in(wording: str, noun: str) -> str | None:
    """What a wording calls that which prompts usually call `noun`; None where it has no other word for it.

    Raises:
        KeyError: no such wording.
    """
    if wording not in wordings():
        raise KeyError(wording)
    other: str | None = OBJECT if wording == OBJECT else read("wordings")["nouns"].get(noun, {}).get(wording)
    return None if other == noun else other
