"""`zsad-bench ls`: what there is, read without importing it."""

from __future__ import annotations

from zsad_bench import registry
from zsad_bench.console import Console, Table
from zsad_bench.errors import UnknownNameError

WHAT = ("methods", "datasets", "priors", "backbones")


def ls(what: str) -> None:
    """Prints one line an entry.

    Raises:
        UnknownNameError: not one of the four lists.
    """
    if what not in WHAT:
        raise UnknownNameError(registry.did_you_mean("list", what, WHAT))
    table = Table("name", *(["title"] if what in ("methods", "datasets") else []), "", box=None, pad_edge=False)
    for line in _lines(what):
        table.add_row(*line)
    Console().print(table)


def _lines(what: str) -> list[tuple[str, ...]]:
    if what in ("methods", "datasets"):
        return [(entry.name, entry.title, entry.summary) for entry in registry.describe(what)]
    if what == "priors":
        from zsad_bench.data.prior import names

        return list(names().items())
    from zsad_bench.backbones.architecture import usable_names

    listed = [
        (name, ", ".join(tags) or "no pretrained tag: give --weights a file") for name, tags in usable_names().items()
    ]
    return [
        ("tiny", "the embedded tiny CLIP of the demo suite"),
        *listed,
        ("local-dir:FOLDER", "a folder in open_clip's format"),
    ]
