"""Rows as a pandas table, for analyses of your own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from zsad_bench.results.row import FIELDS, Row

if TYPE_CHECKING:
    from pandas import DataFrame


def frame(rows: Iterable[Row]) -> DataFrame:
    """One line per row, one column per field, in the order of the row files.

    value, error_bound, ci_*: float64 fractions, nan where undefined or absent; times and memory likewise. Counts that
    may be absent are nullable integers, `started` is a UTC time, `variant` and `networks` are texts for people. About
    1 kB of memory per row.
    """
    import pandas

    found = pandas.DataFrame([row.record().values() for row in rows], columns=list(FIELDS))
    numbers = ["value", "error_bound", "ci_low", "ci_high", "ci_level", "seconds", "seconds_encode"]
    numbers += ["seconds_score", "peak_memory_mb", "gflops"]
    counts = ["seed", "draw", "n_images", "n_anomalous", "n_skipped", "n_vanished"]
    counts += ["n_near_duplicates", "n_regions", "image_size", "trained_parameters"]
    found = found.astype(dict.fromkeys(numbers, "float64") | dict.fromkeys(counts, "Int64"))
    return found.assign(started=pandas.to_datetime(found["started"], utc=True, format="ISO8601"))
