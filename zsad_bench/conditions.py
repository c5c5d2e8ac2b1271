"""Conditions of a robustness test: test images are corrupted, or prompts call what they show by other words.

    gaussian_noise:3             a corruption of test images and its severity, 1 to 5 (data/corruptions.py)
    wording:german               other nouns for the categories (prompts/wordings.yaml)
    visa:pcb1@gaussian_noise:3   a target under a condition, as plans write it

Rows of such a test say so in `data_options`, by which every standard table leaves them out. Only the form is known
here; the files named above say which corruptions and wordings there are.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from zsad_bench.errors import UsageError

Kind = Literal["corruption", "wording"]
SEVERITIES = (1, 2, 3, 4, 5)
_NAME = "[a-z][a-z0-9_]*"
_FORM = re.compile(rf"(?:wording:(?P<wording>{_NAME})|(?P<corruption>{_NAME}):(?P<severity>[1-5]))", re.ASCII)
_OPTION = re.compile(rf"(?:^|,)(?:wording=(?P<wording>{_NAME})|corruption=(?P<corruption>{_NAME}:[1-5]))(?=,|$)")


class Condition(NamedTuple):
    """name: of the corruption, or of the wording. severity: of a corruption; 0 of a wording."""

    kind: Kind
    name: str
    severity: int = 0

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"wording:{self.name}" if self.kind == "wording" else f"{self.name}:{self.severity}"

    @property
    def value(self) -> str:
        """What stands behind its kind in a dataset's decisions: "gaussian_noise:3", "german"."""
        return self.name if self.kind == "wording" else str(self)

    @property
    def words(self) -> str:
        """As people read it: "gaussian noise, severity 3", "wording german"."""
        spoken = self.name.replace("_", " ")
        return f"wording {spoken}" if self.kind == "wording" else f"{spoken}, severity {self.severity}"


def parse(text: str) -> Condition:
    """The condition that a text means; whether its name is known is not looked at.

    Raises:
        UsageError: it has not the form of a condition.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise UsageError(
            f"condition '{text}': expected a corruption and a severity from 1 to 5, as in gaussian_noise:3, or "
            "wording:NAME"
        )
    if found["wording"]:
        return Condition("wording", found["wording"])
    return Condition("corruption", found["corruption"], int(found["severity"]))


def split(target: str) -> tuple[str, str]:
    """A target and the condition behind its last @; "" where there is none, or no text of that form.

    A path may have an @ in it: what is behind it counts only where it has the form of a condition.
    """
    name, sign, text = target.rpartition("@")
    return (name, text) if sign and name and _FORM.fullmatch(text) else (target, "")


@lru_cache(maxsize=4096)
def of_options(data_options: str) -> Condition | None:
    """The condition that the `data_options` of a row say; None of a standard row."""
    found = _OPTION.search(data_options)
    if found is None:
        return None
    return parse(found["corruption"] or f"wording:{found['wording']}")
