"""The real datasets, found or not, where, and how many images.

Tables are read; images are not opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

from rich.text import Text

from zsad_bench import registry
from zsad_bench.console import Console, Table, styled
from zsad_bench.data import catalog, complete, locations
from zsad_bench.errors import ZsadError
from zsad_bench.options import Argument
from zsad_bench.planning.suite import is_found

if TYPE_CHECKING:
    from zsad_bench.data.base import ZeroShotDataModule


@dataclass(frozen=True, kw_only=True)
class Options:
    name: Annotated[str | None, Argument("NAME", "everything about this one", names="datasets")] = None


class Seen(NamedTuple):
    """What a look at a dataset's folder showed. error: one line where it cannot be read without --partial."""

    module: ZeroShotDataModule | None
    counts: tuple[int, int] | None = None
    error: str = ""


def run(options: Options) -> int:
    """Prints one line per dataset, or everything about the one that `options.name` gives.

    Raises:
        UnknownNameError: no such dataset. DatasetError: ZSAD_DATA is not a folder.
    """
    console = Console()
    if options.name:
        _card(registry.load("datasets", options.name), console)
        return 0
    root = locations.data_root()
    table = Table("name", "level", "found", "normal", "anomalous", "expected", "licence", box=None, pad_edge=False)
    places: list[tuple[str, str]] = []
    for column in table.columns[3:5]:
        column.justify = "right"
    found = broken = 0
    classes = catalog.real()
    for cls in classes:
        seen = look(cls)
        found += seen.module is not None
        broken += bool(seen.error)
        counts = ("–", "–") if seen.counts is None else map(str, seen.counts)
        state, where = _where(cls, seen)
        table.add_row(cls.name, cls.level, state, *counts, _expected(cls), cls.licence)
        places += [(cls.name, where)] if where else []
    console.print(table)
    console.print()
    console.pairs(places)
    under = f"ZSAD_DATA is {root}" if root else "ZSAD_DATA is not set: point it at the folder that holds them"
    for line in (
        "",
        f"{found} of {len(classes)} found, {broken} of them broken. {under}.",
        "`zsad-bench data list NAME` says how to get one, `data check NAME` opens every file.",
        "Evidence of what is expected: V verified on files, S stated in a public source, I inferred, R recalled.",
    ):
        console.print(line)
    return 0


def look(cls: type[ZeroShotDataModule]) -> Seen:
    """What is found of a dataset where it is looked for by default; never raised for."""
    from zsad_bench.data.demo.module import DemoDataModule

    try:
        generated = issubclass(cls, DemoDataModule) and not cls.available().is_dir()  # reading would draw it
        if generated or not is_found(cls.name):
            return Seen(None)
        module = cls()
        labels = [sample.label for sample in module.samples()]
    except (ZsadError, OSError) as error:
        return Seen(cls(), _as_it_is(cls), " ".join(str(error).split()))
    return Seen(module, (labels.count(0), labels.count(1)))


def _as_it_is(cls: type[ZeroShotDataModule]) -> tuple[int, int] | None:
    """The test images, normal and anomalous, that a copy has which only `--partial` takes; None where nothing does."""
    try:
        return complete.counts(cls(partial=True).samples())
    except (ZsadError, OSError):
        return None


def _where(cls: type[ZeroShotDataModule], seen: Seen) -> tuple[Text, str]:
    """Whether it is there in a word, and where or what is wrong with it in a line; "" where there is nothing to say."""
    if seen.error:
        return styled("broken", "red"), seen.error
    if seen.module is None:
        packed = catalog.packed(cls)
        return (styled("packed", "yellow"), f"packed: {packed[0]}; unpack it") if packed else (styled("no", "dim"), "")
    layout = getattr(seen.module, "layout", None)
    return styled("yes"), f"{seen.module.root}" + (f" ({layout})" if layout else "")


def _expected(cls: type[ZeroShotDataModule]) -> str:
    return f"{' / '.join(cls.expected.shown)} ({cls.expected.evidence})"


def _card(cls: type[ZeroShotDataModule], console: Console) -> None:
    """Everything about one dataset: the card, the layouts it comes in, and what is found here."""
    from zsad_bench.data.public import PublicDataModule

    lines: list[tuple[str, str]] = []

    def row(what: str, text: object) -> None:
        lines.append((what, str(text)))

    row(cls.name, f"{cls.title}: {cls.domain}, level {cls.level}")
    row("home page", cls.url)
    row("licence", f"{cls.licence}; {'may' if cls.redistribute else 'may not, or is not known to,'} be redistributed")
    row("citation", cls.citation)
    variants = getattr(cls, "variants", {"": cls.expected})
    for number, (name, expected) in enumerate(variants.items()):
        normal, anomalous = expected.shown
        counts = f"{normal} normal, {anomalous} anomalous (evidence {expected.evidence})"
        row("expected" if number == 0 else "", f"{name}: {counts}" if name else counts)
    row("folder names", ", ".join(dict.fromkeys((*cls.root_names, cls.name))))
    if issubclass(cls, PublicDataModule):
        looks = {
            "meta_json": "meta.json beside the images",
            "mvtec_style": "{category}/test/{type}/, masks in {category}/ground_truth/{type}/",
            "raw": "as mvtec_style" if cls.raw_is_mvtec_style else cls.raw_looks_like,
        }
        for number, layout in enumerate(cls.layout_order):
            row("" if number else "layouts", f"{layout}: {looks[layout]}")
        if cls.level != "image":
            row(
                "mask rule",
                f"grey values above {cls.mask_threshold} are anomalous; --data {cls.name}.mask_rule=legacy: above 0",
            )
    if shared := getattr(cls, "shares_images_with", ()):
        row("shares images", f"with {', '.join(shared)}: do not count both as evidence")
    row("how to get it", cls.how_to_get)
    if cls.unverified:
        row("unverified", cls.unverified)
    seen = look(cls)
    if seen.module is None:
        packed = catalog.packed(cls)
        row("found", f"only packed: {', '.join(packed)}; unpack it" if packed else "no")
    elif seen.error:
        row("found", seen.error)
        if seen.counts is not None:
            row("counts", f"{seen.counts[0]} normal, {seen.counts[1]} anomalous with --partial")
    elif seen.counts is not None:
        row("found", f"{seen.module.root}, layout {getattr(seen.module, 'layout', 'its own')}")
        row("counts", f"{seen.counts[0]} normal, {seen.counts[1]} anomalous")
        row("manifest hash", seen.module.manifest_hash)
    for number, note in enumerate(dict.fromkeys(seen.module.notes) if seen.module else ()):
        row("notes" if number == 0 else "", note)
    console.pairs(lines)
    categories = Table("category", "prompt name", "friendly", "kind", box=None, pad_edge=False)
    for card in cls.category_cards:
        categories.add_row(card.name, card.prompt_name, card.friendly or card.prompt_name, card.kind)
    if cls.category_cards:
        console.print()
        console.print(categories)
