"""The manifest of a prior: JSON lines that say which samples were kept, to be archived, compared and read back.

The first line is a header (dataset, prior, draw, rule, counts, sha256 over the sorted paths), then follows one record a
sample. It holds paths below the dataset's root and no data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from zsad_bench.atomic import whole_file
from zsad_bench.errors import DatasetError
from zsad_bench.types import Sample

SCHEMA = 1
_RECORD = ("id", "path", "category", "label", "types", "masks", "crop")


def paths_sha256(samples: Iterable[Sample]) -> str:
    """sha256, hex, of the sorted sample ids, joined by line ends without a last one."""
    text = "\n".join(sorted(sample.id for sample in samples))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def write(
    path: Path, dataset: str, prior: str, draw: int, rule: int, samples: Sequence[Sample], place: str = ""
) -> None:
    """Writes the manifest of the samples that a prior kept of one dataset; the file appears whole or not at all.

    place: of data of one's own, where it lies on this machine.

    Raises:
        DatasetError: the file cannot be written.
    """
    header = {
        "manifest": SCHEMA,
        "dataset": dataset,
        "prior": prior,
        "draw": draw,
        "rule": rule,
        "normal": sum(s.label == 0 for s in samples),
        "anomalous": sum(s.label == 1 for s in samples),
        "paths_sha256": paths_sha256(samples),
        **({"place": place} if place else {}),
    }
    lines = [header, *(_record(sample) for sample in samples)]
    try:
        with whole_file(path) as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
    except OSError as error:
        raise DatasetError(f"cannot write the manifest {path} ({error.strerror}); name another file") from None


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(header, records) of a written manifest.

    Raises:
        DatasetError: not a manifest, cut short, or changed by hand; names the line where it can.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"cannot read the manifest {path} ({error}); write it with `zsad-bench data prior`"
        ) from None
    parsed = []
    for number, line in enumerate(lines, 1):
        try:
            parsed.append(json.loads(line))
        except ValueError:
            raise DatasetError(f"{path} line {number} is not JSON; write the manifest again") from None
    header, records = (parsed[0], parsed[1:]) if parsed else ({}, [])
    if not isinstance(header, dict) or header.get("manifest") != SCHEMA or "dataset" not in header:
        raise DatasetError(f"{path} does not begin with the header of a manifest of version {SCHEMA}; write it again")
    if not all(isinstance(record, dict) and record.keys() >= set(_RECORD) for record in records):
        raise DatasetError(f"{path}: a record lacks one of {', '.join(_RECORD)}; write the manifest again")
    found = hashlib.sha256("\n".join(sorted(r["id"] for r in records)).encode(errors="surrogateescape")).hexdigest()
    if found != header.get("paths_sha256"):
        raise DatasetError(
            f"{path} is cut short or was changed: its paths do not have the hash it states; write it again"
        )
    return header, records


def _record(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "path": sample.image,
        "category": sample.category,
        "label": sample.label,
        "types": list(sample.types),
        "masks": list(sample.masks),
        "crop": sample.crop,
    }
