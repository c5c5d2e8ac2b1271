"""What a wandb run shows of its rows: means, and a table with one line per category. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from zsad_bench.conditions import of_options

Record = Mapping[str, Any]
_PARTIAL = ("target_partial", "auxiliary_partial")  # what of the data is not whole
_LINE = (
    "method", "variant", "prior", "draw", "seed", "target", "category", "data_options", "n_images", "n_anomalous",
    "n_skipped", "n_vanished", *_PARTIAL,
)  # fmt: skip


def newest(records: Iterable[Record]) -> list[Record]:
    """For each target, category, condition and metric the record of the run that started last; of equals, the later."""
    latest: dict[tuple[str, str, str, str], Record] = {}
    for record in sorted(records, key=lambda record: record["started"].removesuffix("Z")):
        latest[record["target"], record["category"], _condition(record), record["metric"]] = record
    return list(latest.values())


def summary(records: Iterable[Record], averaged: Collection[str]) -> dict[str, float | int | str]:
    """`<target>/<metric>`, `mean/<metric>` over targets, and `targets/<metric>`: how many the mean is over.

    `<target>/partial` says what of the data behind a target's values is not whole, where something is.

    A target's value is the plain mean over its categories. averaged: the targets that a mean is over, those without a
    defined value left out; other targets stand alone. Rows of corrupted images and other wordings are in none.
    """
    values: dict[str, dict[str, list[float]]] = {}
    records = [record for record in newest(records) if not _condition(record)]
    for record in records:
        if record["value"] is not None:
            values.setdefault(record["metric"], {}).setdefault(record["target"], []).append(record["value"])
    content: dict[str, float | int | str] = {**_partial(records)}
    for metric, by_target in sorted(values.items()):
        means = {
            target: math.fsum(of_categories) / len(of_categories) for target, of_categories in sorted(by_target.items())
        }
        content |= {f"{target}/{metric}": mean for target, mean in means.items()}
        together = [mean for target, mean in means.items() if target in averaged]
        if together:
            content[f"mean/{metric}"] = math.fsum(together) / len(together)
            content[f"targets/{metric}"] = len(together)
    return content


def _condition(record: Record) -> str:
    """Under which it was tested; "" for a standard row."""
    return str(of_options(record.get("data_options") or "") or "")


def _partial(records: Iterable[Record]) -> dict[str, str]:
    by_target: dict[str, dict[str, None]] = {}
    for record in records:
        skipped, notes = record.get("n_skipped"), [f"{record[name]} images" for name in _PARTIAL if record.get(name)]
        if skipped:
            notes.append(f"{record['category']} without {skipped} of {skipped + record['n_images']} images")
        by_target.setdefault(record["target"], {}).update(dict.fromkeys(notes))
    return {f"{target}/partial": "; ".join(notes) for target, notes in sorted(by_target.items()) if notes}


def table(records: Iterable[Record]) -> tuple[list[str], list[list[Any]]]:
    """Columns and lines: one line per target, category and condition, which data_options say, with a column per metric.

    None where a value is undefined.
    """
    records = newest(records)
    metrics = sorted({record["metric"] for record in records})
    lines: dict[tuple[str, str, str], dict[str, Any]] = {}
    for record in records:
        place = record["target"], record["category"], _condition(record)
        line = lines.setdefault(place, {name: record.get(name) for name in _LINE})
        line[record["metric"]] = record["value"]
    columns = [*_LINE, *metrics]
    return columns, [[line.get(name) for name in columns] for _, line in sorted(lines.items())]
