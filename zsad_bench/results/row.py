"""A row: one metric of one category of one cell, with everything needed to trust it, as one line of JSON."""

from __future__ import annotations

import hashlib
import json
import math
import operator
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from zsad_bench.errors import RowError

SCHEMA = 1
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_DUST = 1e-9  # a trapezoid sum of a perfect curve may end a few ulps above 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured number; unrounded in [0, 1], or None with the reason why it is undefined.

    error_bound: how far the value may be from the exact one; None when it is exact.
    ci_low, ci_high, ci_level: confidence interval of the value over the category's images, and its level; or None.
    key: `cell_key` of what decided the number; what follows the value is counts, hashes and provenance.
    variant: "" for the method as it is. prior, auxiliary: "none" and "" where nothing was trained.
    draw: of the auxiliary data. data_options: what of the target's reading is not at its default ("mask_rule=legacy").
    target_partial, auxiliary_partial: "36 of 3000" where the data are not all that their dataset has, and "" where they
    are; of several auxiliary datasets "mvtec 363 of 1725". Such a number is compared with no other.
    n_skipped: images that could not be read and were left out on demand; they are in no other number.
    n_vanished: anomalous images whose mask has no pixel left at this image size; no pixel metric takes them for normal.
    n_near_duplicates: images that look like one of the auxiliary images, as the leak guard warned.
    n_regions: 8-connected anomalous regions; None for image-level metrics.
    config_hash: `digest` of the resolved configuration without the seed, so that seeds can be averaged.
    backbone, weights_hash: "none" for a method that uses no backbone.
    started: UTC, as `now()` writes it; a run's rows supersede those of runs that started earlier.

    Raises:
        RowError: the value is not in [0, 1], or undefined without a reason, or `started` is not UTC.
        TypeError: value or seed is no number.
    """

    key: str
    suite: str
    method: str
    method_version: str
    variant: str = ""
    prior: str
    prior_hash: str
    auxiliary: str
    auxiliary_partial: str = ""
    target: str
    target_partial: str = ""
    category: str
    seed: int
    draw: int = 0
    data_options: str = ""
    metric: str
    value: float | None
    reason: str | None = None
    error_bound: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    ci_level: float | None = None
    n_images: int
    n_anomalous: int
    n_skipped: int = 0
    n_vanished: int = 0
    n_near_duplicates: int = 0
    n_regions: int | None = None
    image_size: int
    backbone: str
    weights_hash: str
    data_hash: str
    config_hash: str
    precision: str
    metric_version: str
    package_version: str
    commit: str
    torch: str
    device: str
    run_id: str
    started: str
    seconds: float
    peak_memory_mb: float | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        operator.index(self.seed)
        if self.value is None or math.isnan(self.value):
            object.__setattr__(self, "value", None)
            if not self.reason:
                self._refuse("an undefined value needs a reason, found none")
            if (self.error_bound, self.ci_low, self.ci_high, self.ci_level) != (None,) * 4:
                self._refuse("an undefined value has no error bound and no interval; found one")
        else:
            if self.reason:
                self._refuse(f"a value ({self.value}) and a reason to have none ({self.reason!r}); give one")
            if not -_DUST <= self.value <= 1 + _DUST:
                self._refuse(f"{self.value} is outside [0, 1]; rows hold fractions, percent is for tables")
            object.__setattr__(self, "value", min(max(float(self.value), 0.0), 1.0))
        interval = (self.ci_low, self.ci_high, self.ci_level)
        if None in interval and interval != (None,) * 3:
            self._refuse(f"ci_low, ci_high and ci_level are given together, found {interval}")
        if not _TIME.fullmatch(self.started):
            self._refuse(f"started={self.started!r} is not UTC like 2026-01-31T12:00:00Z; use rows.now()")

    def _refuse(self, why: str) -> None:
        raise RowError(f"{self.method} on {self.target}/{self.category}, {self.metric}: {why}")

    def to_json(self) -> str:
        """One line of JSON without its line end; floats come back bit for bit."""
        record = {name: getattr(self, name) for name in FIELDS}
        return json.dumps(record, ensure_ascii=False, allow_nan=False, default=_plain)


FIELDS = ("schema", *(field.name for field in fields(Row) if field.name != "schema"))  # in the order of a line
_REQUIRED = frozenset(field.name for field in fields(Row) if field.default is MISSING)
DEFAULTS = {field.name: field.default for field in fields(Row) if field.default is not MISSING}
ALL_FIELDS = frozenset(FIELDS)


def from_record(record: Any) -> Row:
    """The row of one parsed line. Fields that this version does not know are ignored: newer ones may add some.

    Raises:
        RowError: a newer schema, a missing field or an impossible value. The caller adds file and line.
    """
    if not isinstance(record, dict) or not isinstance(record.get("schema"), int):
        raise RowError("expected a JSON object with an integer `schema`, found something else")
    if record["schema"] > SCHEMA:
        raise RowError(
            f"schema {record['schema']} is newer than {SCHEMA}, the newest this version reads; upgrade zsad-bench"
        )
    if missing := sorted(_REQUIRED - record.keys()):
        raise RowError(f"fields missing: {', '.join(missing)}")
    row = of_fields({**DEFAULTS, **{name: record[name] for name in record if name in ALL_FIELDS}})
    try:
        row.__post_init__()
        return row
    except TypeError as error:
        raise RowError(f"a field has the wrong type ({error})") from None


def of_fields(values: dict[str, Any]) -> Row:
    """The row that has these values, every field and nothing else, unchecked; they become the row's own.

    What Row(**values) does, without the guarded assignments of a frozen class: ten times faster on big files.
    """
    row = object.__new__(Row)
    object.__setattr__(row, "__dict__", values)
    return row


def started_is_utc(started: Any) -> bool:
    """Whether this is a time as `now()` writes it."""
    return type(started) is str and _TIME.fullmatch(started) is not None


def cell_key(
    *,
    method: str,
    method_version: str,
    config: Mapping[str, Any],
    prior: str,
    prior_hash: str,
    target: str,
    data_hash: str,
    weights_hash: str,
    seed: int,
    precision: str,
    metric_version: str,
) -> str:
    """16 hex digits naming everything that decides a cell's numbers, and nothing else.

    config: the resolved configuration, without the seed. Where, when and under which commit it ran are
    provenance: a run elsewhere has the same key and supersedes.
    """
    return digest(dict(locals()))


def digest(content: Any) -> str:
    """First 16 hex digits of the sha256 of canonical JSON: sorted names, no spaces, tuples as lists.

    Raises:
        TypeError: something JSON cannot hold (a path, a tensor): turn it into text first.
        ValueError: nan or infinity.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def now() -> str:
    """The time in UTC to the millisecond, as rows hold it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    """The Python number inside a numpy or torch scalar."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a row cannot hold {type(value).__name__}")
