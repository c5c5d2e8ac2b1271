"""State dicts as trainers leave them: under prefixes of wrappers, inside the dictionaries of a whole training state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

# What data parallelism, torch.compile, FSDP and DeepSpeed put into a name, also in the middle of one.
_WRAPPERS = frozenset(
    ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_ddp_module")
)
_DEEPEST = 16  # dictionaries in dictionaries; nobody's are deeper, and a loop ends


class Found(NamedTuple):
    """A state dict in a file. prefix: what all of its names began with, "" for a plain one."""

    state: dict[str, Tensor]
    prefix: str


class NotFound(ValueError):
    """No such state dict in a file; says what was found instead."""


class Ambiguous(NotFound):
    """Several that differ; says where they are."""


def find_state(loaded: Any, marks: Sequence[str]) -> Found:
    """The one state dict in what a file held that has any of the names `marks`, without prefixes.

    Every stack of prefixes and dictionaries is read alike (`state_dict`, `model.`, `module.`, `_orig_mod.`, `ema.`, …);
    what lies elsewhere in the file, such as an optimiser's state, is left out, and so are numbers and texts.

    Raises:
        NotFound: no name ends in a mark. Ambiguous: two prefixes have one, with other values.
    """
    leaves = [leaf for leaf in _leaves(loaded) if isinstance(leaf[1], Tensor)]
    ends = [mark.split(".") for mark in marks]
    prefixes = dict.fromkeys(before for path, _ in leaves for end in ends if (before := _before(path, end)) is not None)
    if not prefixes:
        shown = ", ".join(".".join(path) for path, _ in leaves[:4]) or _held(loaded)
        raise NotFound(f"found {shown}{', …' if len(leaves) > 4 else ''}; expected {marks[0]}, under any prefix")
    (first, state), *others = [(prefix, _below(leaves, prefix)) for prefix in prefixes]
    for prefix, other in others:
        if not _same(state, other):
            raise Ambiguous(_differ(_written(first), _written(prefix)))
    return Found(state, _written(first))


def tensor_names(loaded: Any) -> list[str]:
    """The names of all tensors in what a file held, with all that stands before them."""
    return [".".join(path) for path, value in _leaves(loaded) if isinstance(value, Tensor)]


Path = tuple[str, ...]  # the parts of a name between its dots


def _leaves(value: Any, path: Path = (), depth: int = 0) -> Iterator[tuple[Path, Any]]:
    """Everything in dictionaries in dictionaries."""
    if not isinstance(value, Mapping) or depth > _DEEPEST:
        yield path, value
        return
    for key, inner in value.items():
        yield from _leaves(inner, (*path, *str(key).split(".")), depth + 1)


def _before(path: Path, end: Sequence[str]) -> Path | None:
    """What stands before `end`, between whose parts wrappers may stand; None where the name does not end so."""
    at = len(path)
    for part in reversed(end):
        while at and path[at - 1] != part and path[at - 1] in _WRAPPERS and part is not end[-1]:
            at -= 1
        if not at or path[at - 1] != part:
            return None
        at -= 1
    return path[:at]


def _below(leaves: Sequence[tuple[Path, Tensor]], prefix: Path) -> dict[str, Tensor]:
    """The tensors whose names begin so, without wrappers; one that stands there twice has to be the same.

    Raises:
        Ambiguous: it is not.
    """
    state: dict[str, tuple[Path, Tensor]] = {}
    for path, value in leaves:
        if path[: len(prefix)] == prefix:
            name = ".".join(part for part in path[len(prefix) :] if part not in _WRAPPERS)
            before, known = state.setdefault(name, (path, value))
            if not _equal(known, value):
                raise Ambiguous(_differ(".".join(before), ".".join(path)))
    return {name: value for name, (_, value) in state.items()}


def _written(prefix: Path) -> str:
    return "".join(f"{part}." for part in prefix)


def _differ(one: str, other: str) -> str:
    return f"found two sets of parameters that differ, at '{one}' and at '{other}'; save only the one you mean"


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())


def _equal(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other))


def _held(loaded: Any) -> str:
    names = ", ".join(map(str, list(loaded)[:4])) if isinstance(loaded, Mapping) else type(loaded).__name__
    return f"no tensors but {names}" if names else "nothing"
