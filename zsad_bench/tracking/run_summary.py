"""What a wandb run shows of its rows: means, and a table with one line a category. Pure functions on plain records."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

Record = Mapping[str, Any]
_PARTIAL = ("target_partial", "auxiliary_partial")  # what of the data is not whole
_LINE = (
    "method", "variant", "prior", "draw", "seed", "target", "category", "data_options", "n_images", "n_anomalous",
    "n_skipped", "n_vanished", *_PARTIAL,
)  # fmt: skip


def newest(records: Iterable[Record]) -> list[Record]:
    """For each target, category and metric the record of the run that started last; of equals, the later one."""
    found: dict[tuple[str, str, str], Record] = {}
    for record in sorted(records, key=lambda record: record["started"].removesuffix("Z")):
        found[record["target"], record["category"], record["metric"]] = record
    return list(found.values())


def summary(records: Iterable[Record], averaged: Collection[str]) -> dict[str, float | int | str]:
    """`<target>/<metric>`, `mean/<metric>` over targets, and `targets/<metric>`: how many the mean is over.

    `<target>/partial` says what of the data behind a target's values is not whole, where something is.

    A target's value is the plain mean over its categories. averaged: the targets that a mean is over, those without a
    defined value left out; other targets stand alone.
    """
    values: dict[str, dict[str, list[float]]] = {}
    records = newest(records)
    for record in records:
        if record["value"] is not None:
            values.setdefault(record["metric"], {}).setdefault(record["target"], []).append(record["value"])
    shown: dict[str, float | int | str] = _partial(records)
    for metric, by_target in sorted(values.items()):
        means = {target: math.fsum(found) / len(found) for target, found in sorted(by_target.items())}
        shown |= {f"{target}/{metric}": mean for target, mean in means.items()}
        together = [mean for target, mean in means.items() if target in averaged]
        if together:
            shown[f"mean/{metric}"] = math.fsum(together) / len(together)
            shown[f"targets/{metric}"] = len(together)
    return shown


def _partial(records: Iterable[Record]) -> dict[str, str]:
    found: dict[str, dict[str, None]] = {}
    for record in records:
        skipped, said = record.get("n_skipped"), [f"{record[name]} images" for name in _PARTIAL if record.get(name)]
        if skipped:
            said.append(f"{record['category']} without {skipped} of {skipped + record['n_images']} images")
        found.setdefault(record["target"], {}).update(dict.fromkeys(said))
    return {f"{target}/partial": "; ".join(said) for target, said in sorted(found.items()) if said}


def table(records: Iterable[Record]) -> tuple[list[str], list[list[Any]]]:
    """Columns and lines, one line a target and category with a column a metric; None where a value is undefined."""
    records = newest(records)
    metrics = sorted({record["metric"] for record in records})
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        line = lines.setdefault((record["target"], record["category"]), {name: record.get(name) for name in _LINE})
        line[record["metric"]] = record["value"]
    columns = [*_LINE, *metrics]
    return columns, [[line.get(name) for name in columns] for _, line in sorted(lines.items())]
