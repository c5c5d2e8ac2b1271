"""What weights are: hash, release, activation, and whether they give the features that were recorded of them.

NAME[@TAG] are those in the cache; FILE is any weight file. Nothing that may run code is opened.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from zsad_bench.commands._weights import is_path, locate, size_text, source_of
from zsad_bench.console import Console
from zsad_bench.data import locations
from zsad_bench.errors import BackboneError, UsageError, ZsadError
from zsad_bench.options import Argument, Option

if TYPE_CHECKING:
    from zsad_bench.backbones.base import Backbone
    from zsad_bench.backbones.golden import GoldenRecord
    from zsad_bench.backbones.releases import Release

RECORDS = "weights_golden.json"  # in the cache folder


@dataclass(frozen=True, kw_only=True)
class Options:
    weights: Annotated[str, Argument("NAME[@TAG]|FILE", "see `zsad-bench weights list`")]
    backbone: Annotated[str | None, Option("NAME", "that a FILE is for; default: what its parameters fit")] = None
    record: Annotated[bool, Option(help="keep the features, to compare with them from now on")] = False
    golden: Annotated[
        str | None, Option("FILE.json", "where features are kept; default: in the cache folder", writes="file")
    ] = None
    json: Annotated[bool, Option(help="one JSON object, see docs/weights.md")] = False


@dataclass
class Report:
    """facts: what was found, in the order of printing. problems: contradictions, a line each."""

    title: str
    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def run(options: Options) -> int:
    """Prints what was found; 1 where a hash or a feature contradicts what is known, else 0.

    Raises:
        UnknownNameError: no such name. BackboneError: the weights are not on this machine or cannot be used.
    """
    place = Path(options.golden).expanduser() if options.golden else locations.cache_root() / RECORDS
    report = _of_file(options) if is_path(options.weights) else _of_name(options)
    backbone = report.facts.pop("backbone", None)
    if backbone is not None:
        _features(report, backbone, place, options.record)
    elif options.record:
        raise UsageError(f"--record: {report.facts['opened']}")
    if options.json:
        print(json.dumps({"weights": report.title, **report.facts, "problems": report.problems}), flush=True)
    else:
        console = Console()
        said = report.facts | {"size": size_text(report.facts["size"])}
        console.pairs((name.replace("_", " "), str(value)) for name, value in said.items())
        for problem in report.problems:
            console.warn(problem)
    if report.problems:
        raise ZsadError(f"{report.title}: {report.problems[0]}")
    return 0


def _of_name(options: Options) -> Report:
    from zsad_bench.backbones.hub import check_download
    from zsad_bench.backbones.load import load_backbone
    from zsad_bench.backbones.releases import of_name

    if options.backbone:
        raise UsageError(f"--backbone {options.backbone}: goes with a FILE, and {options.weights} is a name")
    source = source_of(options.weights)
    at = locate(source)
    if at.how == "convertible":
        raise BackboneError(
            f"{source.title} is here in another form: {at.paths[0]}; write it once as ours: zsad-bench weights convert "
            f"{at.paths[0]} --out {source.name}.safetensors"
        )
    if at.how not in ("cache", "package"):
        raise BackboneError(
            f"{source.title} is not on this machine; `zsad-bench weights fetch {source.title}` downloads it, or give a "
            "FILE"
        )
    report = Report(source.title)
    report.facts |= _file_facts(at.paths[0])
    if others := [f"{path} (sha256 {_file_facts(path)['sha256']})" for path in at.paths[1:]]:
        report.facts["other_files"] = "; ".join(others)
    for path in at.paths:
        try:
            known = check_download(path, source.title)
        except BackboneError as error:
            report.problems.append(str(error))
        else:
            by = "as the hub says" if known else "as the package records it" if at.how == "package" else ""
            report.facts.setdefault("hash", by or "the hub gives none to compare with")
    report.facts["licence"] = source.licence or "see its page on the hub"
    if report.problems:
        report.facts["opened"] = "no, since its content is not what the hub has"
        return report
    backbone = load_backbone(source.name, source.tag or None)
    release = of_name(source.name, source.tag)
    why = f"known of {release.title}" if release else "as its tag or its configuration says"
    return _loaded(report, backbone, why)


def _of_file(options: Options) -> Report:
    from zsad_bench.backbones.file_kind import TITLES, file_kind, safetensors_notes
    from zsad_bench.backbones.releases import of_file, of_hash

    path = Path(options.weights).expanduser()
    if not path.is_file():
        raise BackboneError(f"weights not found: {path}")
    kind = file_kind(path)
    report = Report(str(path), _file_facts(path) | {"kind": TITLES[kind]})
    sha256 = report.facts["sha256"]
    release, named = of_hash(sha256), of_file(path.name)
    if release is not None:
        report.facts |= {"release": f"{release.title} ({release.source})", "licence": release.licence}
    elif named is not None:
        report.facts["release"] = f"none with this hash, though it is called like {named.title}"
        report.problems.append(
            f"{path.name} is not the file of {named.title}: found sha256 {sha256[:12]}, expected {named.sha256[:12]}; "
            "download it again"
        )
    else:
        report.facts["release"] = "none that is known here"
    notes = safetensors_notes(path) if kind == "safetensors" else {}
    if origin := notes.get("converted_sha256"):
        was = of_hash(origin)
        whose = f", the file of {was.title}" if was else ", no release that is known here"
        report.facts["converted_from"] = f"{notes.get('converted_from', '?')} (sha256 {origin[:12]}{whose})"
    if kind in ("torchscript", "other"):
        if release is not None:
            report.facts["activation"] = f"{release.activation} (known of {release.title})"
        what = "it would run code; `zsad-bench weights convert` reads it" if kind == "torchscript" else "not weights"
        report.facts["opened"] = f"no: {what}"
        if kind == "other":
            report.problems.append("not weights: neither safetensors nor a file of torch; download it again")
        return report
    names, why = _names(path, options.backbone, release, notes.get("activation", ""))
    if not names:
        report.facts["opened"] = (
            "no: its parameters fit no backbone that is known here by shape; name it with --backbone"
        )
        report.problems.append("fits no backbone that is known here by shape; name it with --backbone")
        return report
    from zsad_bench.backbones.load import load_backbone

    return _loaded(report, load_backbone(names[0], path), why, others=names[1:])


def _names(path: Path, asked: str | None, release: Release | None, noted: str) -> tuple[list[str], str]:
    """The backbones that a file may be for, and how its activation is known."""
    from zsad_bench.backbones.load import fitting_names, read_any
    from zsad_bench.backbones.weights import OtherWeights

    if asked:
        return [asked], f"as {asked} computes; the file was accepted for it"
    if release is not None:
        return [release.name], f"known of {release.title}"
    try:
        state = read_any(path)
    except OtherWeights as error:
        raise BackboneError(f"{error}; name what it is for with --backbone") from None
    if noted in ("gelu", "quickgelu"):
        return fitting_names(state, noted), "the file's notes say so"
    names = fitting_names(state)
    return names, "ASSUMED: the file does not say it; name the backbone that it was trained as with --backbone"


def _file_facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": str(path), "size": path.stat().st_size, "sha256": sha256}


def _loaded(report: Report, backbone: Backbone, why: str, others: list[str] | None = None) -> Report:
    report.facts |= {
        "opened": f"as {backbone.name}" + (f"; it fits {', '.join(others)}, too" if others else ""),
        "weights_hash": backbone.weights_hash,
        "activation": f"{getattr(backbone.vision, 'activation', 'not stated')} ({why})",
        "backbone": backbone,
    }
    return report


def _features(report: Report, backbone: Backbone, place: Path, record: bool) -> None:
    """Compares the features of the fixed image and sentence with those recorded, or records them."""
    from zsad_bench.backbones import golden

    found = golden.golden(backbone)
    mine = golden.read_records(place)
    known = golden.matching([*golden.read_records(golden.SHIPPED), *mine], backbone.weights_hash, report.title)
    report.facts["features"] = _norms(found)
    if record:
        about = {"recorded": f"{datetime.now(UTC):%Y-%m-%d}", **_about(report, backbone)}
        golden.add_record(place, golden.GoldenRecord(backbone.weights_hash, report.title, found, about))
        report.facts["golden"] = f"recorded in {place}"
        return
    if known is None:
        report.facts["golden"] = "none recorded; --record keeps these features, to compare with them later"
        return
    _compare(report, backbone, known, golden.difference(found, known.features))


def _compare(report: Report, backbone: Backbone, known: GoldenRecord, difference: float) -> None:
    from zsad_bench.backbones.golden import TOLERANCE

    of = f"those of {known.title}, recorded {known.about.get('recorded', 'before')}"
    if known.weights_hash != backbone.weights_hash:
        report.facts["golden"] = f"other weights than {of}"
        report.problems.append(
            f"its values are not {of}: found {backbone.weights_hash[:12]}, recorded {known.weights_hash[:12]}; if they "
            "are meant, add --record"
        )
    elif difference > TOLERANCE:
        report.facts["golden"] = f"differ from {of} by {difference:.1e}"
        report.problems.append(
            f"the same values give other features than {of}: they differ by {difference:.1e} of the largest, at most "
            f"{TOLERANCE:.0e} was expected; was it recorded with {known.about.get('torch', 'another torch')} and "
            f"{known.about.get('activation', 'another activation')}?"
        )
    else:
        report.facts["golden"] = f"as {of} (largest difference {difference:.1e})"


def _about(report: Report, backbone: Backbone) -> dict[str, str]:
    import platform

    import torch

    return {
        "backbone": backbone.name,
        "sha256": str(report.facts["sha256"]),
        "activation": str(getattr(backbone.vision, "activation", "")),
        "torch": f"torch {torch.__version__}",
        "machine": platform.machine(),
    }


def _norms(found: Any) -> str:
    parts = [f"image {float(found.image.norm()):.5g}"]
    if found.text is not None:
        parts.append(f"text {float(found.text.norm()):.5g}")
    return f"of the fixed image and sentence; norms: {', '.join(parts)}"
