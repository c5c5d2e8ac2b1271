"""Weights that suites and backbones need: size, hash, licence, and where they were found on this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.text import Text

from zsad_bench import protocol
from zsad_bench.commands._weights import SUFFIXES, Located, locate, size_text, source_of
from zsad_bench.console import Console, Table, styled
from zsad_bench.errors import UsageError
from zsad_bench.options import Argument, Option
from zsad_bench.planning.suite import SUITES

if TYPE_CHECKING:
    from zsad_bench.backbones.releases import Release, WeightSource

_FEW = 10  # names of a family that are all listed; of others those with a known release
_STATES = {"package": "package", "cache": "cache", "convertible": "convert it", "partly": "partly", "no": "no"}


@dataclass(frozen=True, kw_only=True)
class Options:
    name: Annotated[str | None, Argument("NAME", "all weights of this backbone")] = None
    all: Annotated[bool, Option(help="every backbone that can be used, with every tag")] = False
    look: Annotated[tuple[str, ...], Option("FOLDER", "list the weight files in it, too", repeated=True)] = ()
    json: Annotated[bool, Option(help="one JSON object per line, see docs/weights.md")] = False


def run(options: Options) -> int:
    """Prints one line per name and tag; nothing is downloaded and no file is opened.

    Raises:
        UnknownNameError: no such backbone. UsageError: --look names no folder.
    """
    folders = [_folder(path) for path in options.look]
    entries = [_entry(source) for source in _sources(options)]
    files = [_file(path) for folder in folders for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES]
    if options.json:
        for one in [*entries, *files]:
            print(json.dumps(one), flush=True)
        return 0
    console = Console()
    table = Table("weights", "for", "size", "found", "licence", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    for one in entries:
        title = one["title"] if options.name or options.all else one["name"]
        row = (title, ", ".join(one["needed_by"]) or "–", _size(one), _state(one["found"]))
        table.add_row(*row, one["licence"] or "see its page")
    console.print(table)
    places = [(one["title"], path) for one in entries for path in one["paths"]]
    hashes = [(one["title"], f"sha256 {one['sha256']} {one['sha256_is']}") for one in entries if one["sha256"]]
    for lines in (places, hashes):
        if lines:
            console.print()
            console.pairs(lines)
    if files:
        console.print()
        console.pairs((one["file"], one["says"]) for one in files)
    missing = [one["title"] for one in entries if one["found"] in ("no", "partly")]
    console.print()
    for line in (
        f"{len(entries) - len(missing)} of {len(entries)} found. ~: what the parameters take in float32.",
        f"`zsad-bench weights fetch {missing[0]}` downloads one, with a network." if missing else "",
        "`zsad-bench weights check NAME|FILE` computes hashes and features.",
        "" if options.name or options.all else "--all lists every backbone with every tag.",
    ):
        if line:
            console.print(line)
    return 0


def _sources(options: Options) -> list[WeightSource]:
    from zsad_bench.backbones.load import families, weight_sources
    from zsad_bench.backbones.releases import RELEASES

    if options.name:
        first = source_of(options.name, several=True)  # refuses what there is none of
        return [first] if "@" in options.name else weight_sources(first.name)
    needed = [name for one in SUITES.values() for name in (one.backbone, *one.backbones.values())]
    names = dict.fromkeys(needed)
    for family in families().values():
        known = [name for name in (family.listing() if options.all else family.names()) if family.knows(name)]
        if len(known) > _FEW and not options.all:
            known = [release.name for release in RELEASES if release.name in known]
        names |= dict.fromkeys(known)
    found = [weight_sources(name) for name in names]
    return [source for sources in found for source in (sources if options.all else sources[:1])]


def _entry(source: WeightSource) -> dict[str, Any]:
    """What is known of weights, in plain values."""
    from zsad_bench.backbones.hub import hub_hash
    from zsad_bench.backbones.releases import of_name

    at = locate(source)
    release = of_name(source.name, source.tag)
    hashes = [one.digits for path in at.paths if (one := hub_hash(path)) is not None and one.kind == "sha256"]
    return {
        "title": source.title,
        "name": source.name,
        "tag": source.tag,
        "needed_by": _needed_by(source),
        "size": at.size if at.how in ("cache", "package") else 4 * _parameters(source, at),
        "size_is": "of the file" if at.how in ("cache", "package") else "of the parameters in float32",
        "found": at.how,
        "paths": [str(path) for path in at.paths],
        "sha256": hashes[0] if hashes else release.sha256 if release else None,
        "sha256_is": "of the file, as the hub says" if hashes else _published(release),
        "licence": source.licence,
        "hub": source.hub,
    }


def _published(release: Release | None) -> str | None:
    """Of which file a publisher's hash is; some gave only its first digits."""
    if release is None:
        return None
    return f"of {release.file}, as published" + ("" if len(release.sha256) == 64 else "; first digits")


def _needed_by(source: WeightSource) -> list[str]:
    """Suites whose default backbone this is, or that of one of their methods; protocols that print a method on it."""
    found = []
    for one in SUITES.values():
        if (source.name, source.tag) in ((one.backbone, one.weights or ""), (one.backbone, one.weights)):
            found.append(one.name)
        found += [f"{one.name}: {method}" for method, name in one.backbones.items() if name == source.name]
    for of in map(protocol.find, protocol.names()):
        own = of.own_backbones.items()
        found += [f"protocol {of.name}: {method}" for method, on in own
                  if on.stated and (on.backbone, on.weights) == (source.name, source.tag)]  # fmt: skip
    return found


def _parameters(source: WeightSource, at: Located) -> int:
    """How many numbers the weights are; 0 where it is not known without a library that is not installed."""
    from zsad_bench.backbones.load import architecture
    from zsad_bench.errors import BackboneError

    if source.parameters:
        return source.parameters
    try:
        return sum(one.numel() for one in architecture(source.name).model.parameters())
    except BackboneError:
        return 0


def _file(path: Path) -> dict[str, Any]:
    """A weight file somewhere: what it is by its first bytes, and whose it is by its name alone."""
    from zsad_bench.backbones.file_kind import TITLES, file_kind
    from zsad_bench.backbones.releases import of_file

    try:
        kind = file_kind(path)
    except OSError as error:
        return {"file": str(path), "kind": None, "size": None, "says": f"cannot be read ({error.strerror})"}
    release, size = of_file(path.name), path.stat().st_size
    named = f"; called like {release.title}" if release else ""
    return {"file": str(path), "kind": kind, "size": size, "says": f"{TITLES[kind]}, {size_text(size)}{named}"}


def _folder(path: str) -> Path:
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UsageError(f"--look {path}: no such folder")
    return folder


def _size(entry: dict[str, Any]) -> str:
    if not entry["size"]:
        return "–"
    return ("" if entry["size_is"] == "of the file" else "~ ") + size_text(entry["size"])


def _state(found: str) -> Text:
    return styled(_STATES[found], {"no": "dim", "package": "", "cache": ""}.get(found, "yellow"))
