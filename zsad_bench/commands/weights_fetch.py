"""Download weights from the model hub into its cache; a download that was interrupted resumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

from zsad_bench.commands._weights import locate, size_text, source_of
from zsad_bench.console import Console, Progress
from zsad_bench.errors import BackboneError
from zsad_bench.options import Argument

if TYPE_CHECKING:
    from zsad_bench.backbones.releases import WeightSource


@dataclass(frozen=True, kw_only=True)
class Options:
    name: Annotated[str, Argument("NAME[@TAG]", "see `zsad-bench weights list`")]


def run(options: Options) -> int:
    """Downloads what is not in the cache, and compares each file with the hash that the hub gives.

    Raises:
        UnknownNameError: no such backbone or tag. BackboneError: no network, no such file, or another hash.
    """
    from zsad_bench.backbones.hub import cached_weights, check_download

    source = source_of(options.name)
    console = Console()
    if source.packaged is not None:
        console.print(f"{source.title} comes with the package: {source.packaged}")
        return 0
    if not source.hub:
        raise BackboneError(f"{source.title} is not on the model hub; download it and give it with --weights PATH")
    console.print(f"{source.title}, licence: {source.licence or 'see its page on the hub'}")
    for names in source.files:
        there = cached_weights(source.hub, names, source.title)
        path = _fetched(source, names)
        checked = check_download(path, source.title)
        what = "was in the cache" if there is not None else "downloaded"
        by = f"{checked.kind} {checked.digits} (as the hub says)" if checked else "NOT checked: the hub gives no hash"
        console.print(f"{path.name} {what}: {size_text(path.stat().st_size)}, {by}")
        console.print(f"  {path}")
    at = locate(source)
    if at.how != "cache":
        raise BackboneError(f"{source.title}: the cache does not hold what was downloaded; is its folder writable?")
    console.print(f"`--backbone {source.name}` finds it" + (f" (`--weights {source.tag}`)" if source.tag else ""))
    return 0


def _fetched(source: WeightSource, names: Sequence[str]) -> Path:
    from zsad_bench.backbones.hub import fetch_weights

    with Progress(BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()) as progress:
        task = progress.add_task(source.title, total=None)

        def report(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)

        return fetch_weights(source.hub, names, source.title, report)
