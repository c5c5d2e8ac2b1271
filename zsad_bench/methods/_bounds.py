"""Bounds of configuration fields: a number that no run can have is refused before anything is built."""

from __future__ import annotations

from typing import Any

from zsad_bench.errors import UsageError


def check_bounds(title: str, config: Any, *, above_zero: tuple[str, ...] = (), **least: float) -> None:
    """Nothing, when every field named in `above_zero` is > 0 and every other one at least the number given.

    Raises:
        UsageError: one line with the method, the field, what was found and what is allowed.
    """
    for name in above_zero:
        if not getattr(config, name) > 0:
            raise UsageError(f"{title}: {name}={getattr(config, name)}; expected more than 0")
    for name, bound in least.items():
        if not getattr(config, name) >= bound:
            raise UsageError(f"{title}: {name}={getattr(config, name)}; expected {bound} or more")
