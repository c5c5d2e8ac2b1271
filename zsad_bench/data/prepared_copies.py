"""Compositions that are known from a copy alone, as its authors prepared it: its files are told by their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from zsad_bench.data.public import PublicDataModule
from zsad_bench.errors import UsageError
from zsad_bench.types import Sample


def check_copy(module: PublicDataModule, samples: Iterable[Sample], begins: Sequence[str], variant: str) -> None:
    """Nothing, when the asked variant is that of a prepared copy.

    samples: of the copy. begins: how the names of the images begin that the authors of `variant` prepared.

    Raises:
        UsageError: their copy under another variant, or another copy under theirs: numbers would be called by the
            name of a composition that was not tested.
    """
    theirs = any(PurePosixPath(sample.image).name.startswith(tuple(begins)) for sample in samples)
    where, names = module.root, " or ".join(f"{begin}…" for begin in begins)
    if theirs and module.variant != variant:
        raise UsageError(
            f"{module.name}: {where} is the copy of variant {variant} (images are called {names}), asked for "
            f"{module.variant}; take --data {module.name}.variant={variant}, or give the folder of the download"
        )
    if module.variant == variant and not theirs:
        raise UsageError(f"{module.name}: {only_prepared(variant)}, whose images are called {names}; {where} has none")


def only_prepared(variant: str) -> str:
    """Why a download has no such variant."""
    return f"variant {variant} is known only from the copy that its authors prepared, who do not say how it was cut"
