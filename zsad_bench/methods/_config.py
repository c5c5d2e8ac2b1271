"""What methods do to configurations: fill in what was left open, refuse numbers that no run can have."""

from __future__ import annotations

from typing import Any, TypeVar

from zsad_bench.backbones.base import Backbone
from zsad_bench.errors import UsageError

T = TypeVar("T")


def default(value: T | None, otherwise: T) -> T:
    """The value, or the default that replaces None."""
    return otherwise if value is None else value


def quarter_blocks(backbone: Backbone) -> tuple[int, ...]:
    """Blocks 6, 12, 18 and 24 of 24, which most published methods read, scaled to the backbone's tower, each once."""
    return tuple(dict.fromkeys(backbone.scale_block(block) for block in (6, 12, 18, 24)))


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
