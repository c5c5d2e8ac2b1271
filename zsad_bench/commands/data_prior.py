"""What a prior keeps of its auxiliary data, by category and type."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from zsad_bench import registry
from zsad_bench.commands._shared import Partial
from zsad_bench.console import Console, Table, styled
from zsad_bench.data import manifest
from zsad_bench.data import prior as priors
from zsad_bench.errors import UsageError
from zsad_bench.options import Argument, Option
from zsad_bench.path_lists import home
from zsad_bench.printable import printable
from zsad_bench.types import Sample

if TYPE_CHECKING:
    from zsad_bench.data.base import ZeroShotDataModule

_PICTURES = 4  # of each label and category in `--samples`: one of each kind that is generated
_MOST_COLUMNS = 8  # types; where there are more, a category lists its own


@dataclass(frozen=True, kw_only=True)
class Options:
    spec: Annotated[str, Argument("SPEC", "see `zsad-bench ls priors`")]
    suite: Annotated[str, Option("demo|paper", "what rich and limited mean")] = "paper"
    out: Annotated[str | None, Option("MANIFEST.jsonl", "write what is kept, to be read as @FILE", writes="file")] = (
        None
    )
    samples: Annotated[
        str | None, Option("FILE.png", "draw some of what is kept, as `data samples` does", writes="file")
    ] = None
    partial: Partial = False


def run(options: Options) -> int:
    """Prints the composition of a prior, its draw and hash; writes the manifest and the pictures that are asked for.

    Raises:
        UsageError: a wrong specification, a manifest or pictures of a union, or a manifest of what is generated.
            DatasetError: its data is missing, or a file cannot be written.
    """
    from zsad_bench.commands import data_samples
    from zsad_bench.runner.auxiliary import kept

    console = Console()
    spec = priors.resolve(options.spec, options.suite)
    if not spec.parts:
        raise UsageError("prior none keeps nothing; name one of `zsad-bench ls priors`")
    for option, value, what in (
        ("--out", options.out, "a manifest is"),
        ("--samples", options.samples, "pictures are"),
    ):
        if value and len(spec.parts) > 1:
            raise UsageError(
                f"{option}: {what} of one dataset, and '{spec.name}' is a union of {' and '.join(spec.auxiliary)}; "
                "write one of each"
            )
    if options.out and spec.parts[0].synthetic:
        raise UsageError(
            f"--out: a manifest lists files, and the anomalies of '{spec.name}' are in none; name the prior itself, "
            "which gives the same images on every machine"
        )
    if options.samples:
        data_samples.require_png(home(options.samples), f"--samples {options.samples}")
    parts = [kept(part, partial(_module, options.partial), {}) for part in spec.parts]
    modules = [part.module for part in parts]
    for module in modules:
        samples = module.samples()
        normal = sum(sample.label == 0 for sample in samples)
        named = styled(module.name, "bold").append(f" ({printable(module.title)})", "not bold")
        console.print(named.append(f": {normal} normal, {len(samples) - normal} anomalous", "not bold"), soft_wrap=True)
        console.print(composition(samples))
        console.print()
    for note in dict.fromkeys(note for part in parts for note in part.notes):
        console.print(note, style="yellow")
    for part in parts:
        if part.partial:
            console.print(f"partial: {part.module.name} {part.partial}", style="yellow")
    hashed = priors.prior_hash({module.name: module.manifest_hash for module in modules})
    console.print(f"prior {spec.name} · draw {spec.draw} · hash {hashed}")
    if options.out:
        (module,) = modules
        samples, place = module.samples(), _whole_path(spec.parts[0].place)
        manifest.write(Path(options.out), module.name, spec.name, spec.draw, priors.RULE_VERSION, samples, place)
        console.print(f"manifest: {options.out}")
    if options.samples:
        (module,) = modules
        picture = data_samples.draw(module, _PICTURES, prior=spec.name + f", draw {spec.draw}" * bool(spec.draw))
        data_samples.write(picture, home(options.samples), "--samples", module, console)
    return 0


def composition(samples: Sequence[Sample]) -> Table:
    """Category x type; an image of several types counts once, under all of them together."""
    by_category: dict[str, list[Sample]] = {}
    for sample in samples:
        by_category.setdefault(sample.category, []).append(sample)
    types = sorted({sample.anomaly_type for sample in samples if sample.label == 1})
    wide = len(types) > _MOST_COLUMNS
    table = Table(
        "category", "normal", "anomalous", *(["types"] if wide else map(printable, types)), box=None, pad_edge=False
    )
    for column in table.columns[1 : 3 if wide else None]:
        column.justify = "right"
    for category, of in by_category.items():
        counts = Counter(sample.anomaly_type for sample in of if sample.label == 1)
        table.add_row(category, str(sum(s.label == 0 for s in of)), str(counts.total()), *_cells(counts, types, wide))
    if len(by_category) > 1:
        counts = Counter(sample.anomaly_type for sample in samples if sample.label == 1)
        cells = [f"{len(counts)} different"] if wide else _cells(counts, types, wide)
        table.add_section()
        table.add_row("all", str(sum(s.label == 0 for s in samples)), str(counts.total()), *cells)
    return table


def _cells(counts: Mapping[str, int], types: Sequence[str], wide: bool) -> list[str]:
    if wide:
        return [", ".join(f"{name} {counts[name]}" for name in types if counts[name])]
    return [str(counts[name]) if counts[name] else "·" for name in types]


def _module(as_it_is: bool, asked: str, options: Mapping[str, object]) -> ZeroShotDataModule:
    name, _, place = asked.partition(":")
    module: ZeroShotDataModule = registry.load("datasets", name)(place or None, **{"partial": as_it_is, **options})
    return module


def _whole_path(place: str) -> str:
    """The path as any folder would write it; links are kept, as they name the dataset."""
    return os.path.abspath(os.path.expanduser(place)) if place else ""  # noqa: PTH100, PTH111 - links not followed
