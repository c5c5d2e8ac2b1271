"""What one wandb run stands for: a method variant under one prior, draw and seed, on all its targets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zsad_bench.errors import UsageError
from zsad_bench.prior_grammar import parts_of

# What rows of one wandb run share. Targets, their data and when or where it ran are not among it, so that a cell that
# is resumed, repeated or pushed from its rows continues the run that it has.
SHARED = (
    "suite", "method", "method_version", "variant", "prior", "prior_hash", "auxiliary", "draw", "seed", "backbone",
    "weights_hash", "image_size", "config_hash", "precision", "metric_version",
)  # fmt: skip
_LONGEST_TAG = 64  # wandb refuses longer ones
PROVENANCE = ("package_version", "commit", "torch", "device")


@dataclass(frozen=True)
class Tracked:
    """A wandb run: its id, and what it is found by. config: plain values."""

    id: str
    name: str
    tags: tuple[str, ...]
    config: Mapping[str, Any]


def tracked(record: Mapping[str, Any]) -> Tracked:
    """The wandb run that a row belongs to. record: the fields of the row, or those that are known before there is one.

    The id is the method and a hash of `SHARED`: the same on every machine and from rows alone.
    """
    decides = {**{name: record[name] for name in SHARED}, "variant": str(record["variant"])}
    text = json.dumps(decides, sort_keys=True, separators=(",", ":"))
    method, prior, variant = record["method"], record["prior"], decides["variant"]
    learned = "" if prior == "none" else f"{prior} ({record['auxiliary']})"
    line = " · ".join(part for part in (method, variant, learned) if part)
    read = "" if record["backbone"] == "none" else f" · {record['backbone']} {record['image_size']} px"
    config = {**decides, **_amounts(prior), **{name: record[name] for name in PROVENANCE if name in record}}
    return Tracked(
        id=f"{method}-{hashlib.sha256(text.encode()).hexdigest()[:12]}",
        name=f"{line} · seed {record['seed']}" + (f" draw {record['draw']}" if record["draw"] else ""),
        tags=tuple(tag[:_LONGEST_TAG] for tag in (method, f"prior {prior}", f"suite {record['suite']}")),
        config={**config, "line": line + read},
    )


def _amounts(prior: str) -> dict[str, int]:
    """How many kinds of anomaly and anomalous images a prior keeps, where its name says so: the curve's x axes."""
    try:
        parts = parts_of(prior)
    except UsageError:  # a manifest's file
        return {}
    if len(parts) != 1:
        return {}
    said = {"prior_types": parts[0].types, "prior_shots": parts[0].shots}
    return {name: value for name, value in said.items() if value is not None}
