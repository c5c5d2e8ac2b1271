"""How a category is called in a sentence."""

from __future__ import annotations

from typing import Literal

from zsad_bench.types import Category

ClassNames = Literal["prompt_name", "raw", "object"]


def class_name(category: Category, how: ClassNames) -> str:
    """The words that stand for a category's objects in a prompt.

    prompt_name: as its dataset's card says it ("printed circuit board" for pcb1). raw: the folder's name with blanks
    for underscores ("metal nut", but also "pcb1" and "01"), as papers without a table of names are read.
    object: "object", whatever it is.
    """
    if how == "object":
        return "object"
    return category.prompt_name if how == "prompt_name" else category.name.replace("_", " ")
