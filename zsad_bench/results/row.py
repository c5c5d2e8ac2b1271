"""A row: one metric of one category of one cell, with everything needed to trust it, as one line of JSON."""

from __future__ import annotations

import hashlib
import json
import math
import operator
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import force_setattr

from zsad_bench.errors import RowError
from zsad_bench.variant import PLAIN, Variant, variant_of

SCHEMA = 2  # 1: variants were texts, times were those of whole passes
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_DUST = 1e-9  # a trapezoid sum of a perfect curve may end a few ulps above 1


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):  # gc: a row refers to no row, so there is no circle
    """One measured number; unrounded in [0, 1], or None with the reason why it is undefined.

    schema: `SCHEMA`, or that of the line that it was read from. key: `cell_key` of what decided the number; what
    follows the value is counts, hashes and provenance.
    variant: empty for the method as it is. prior, auxiliary: "none" and "" where nothing was trained.
    calibrated_on: whose normal images gave the threshold of this metric, and how many; "" of metrics without one.
    draw: of the auxiliary data. data_options: what of the target's reading is not at its default ("mask_rule=legacy").
    target_partial, auxiliary_partial: "36 of 3000" where the data are not all that their dataset has, and "" where they
    are; of several auxiliary datasets "mvtec 363 of 1725". Such a number is not compared with others.
    transductive: whether the scores of an image depend on the other images of its category. set_hash: then of these
    images, all that were scored together; "" otherwise, and in older rows. It follows from data_hash and category.
    remark: what the method says of its numbers on this category, such as "generic details"; "" for nearly every one.
    maps_hash: of the saved maps and scores that the numbers were computed from, where nothing was run here; "" where a
    method ran. `external/` of the board has a file that says what they are.
    error_bound: how far the value may be from the exact one; None when it is exact.
    ci_low, ci_high, ci_level: confidence interval of the value over the category's images, and its level; or None.
    n_skipped: images that could not be read and were left out on demand; they are in no other number.
    n_vanished: anomalous images whose mask has no pixel left at this image size; no pixel metric takes them for normal.
    n_near_duplicates: images that look like one of the auxiliary images, as the leak guard warned.
    n_regions: 8-connected anomalous regions; None for image-level metrics.
    config_hash: `digest` of the resolved configuration without the seed, so that seeds can be averaged.
    backbone, weights_hash: "none" for a method that uses no backbone. networks: frozen networks beside the backbone,
    name -> hash of their weights.
    started: UTC, as `now()` writes it; a run's rows supersede those of runs that started earlier.
    pass_id: of the pass over the target that the category was tested in; methods with equal ones shared it.
    seconds: from the end of the previous category to that of this one: reading images and all methods of the pass.
    seconds_encode: of the encoding that this method used, all methods that share it together. seconds_score: of this
    method alone, from features to scores and maps. peak_memory_mb: largest of the pass. None where not measured.
    trained_parameters, gflops: as in `runner.row_writer.Computation`; they follow from the configuration. None in older
    rows, and where they could not be counted.

    Raises:
        RowError: the value is not in [0, 1], or undefined without a reason; `started` is not UTC; a newer schema.
        TypeError: value or seed is not a number, or a variant is not a mapping.
    """

    schema: int
    key: str
    suite: str
    method: str
    method_version: str
    variant: Variant = PLAIN
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
    transductive: bool = False
    remark: str = ""
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
    networks: dict[str, str] = {}
    maps_hash: str = ""
    calibrated_on: str = ""
    set_hash: str = ""
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
    pass_id: str | None = None
    seconds: float
    seconds_encode: float | None = None
    seconds_score: float | None = None
    peak_memory_mb: float | None = None
    trained_parameters: int | None = None
    gflops: float | None = None

    def __post_init__(self) -> None:
        if self.schema > SCHEMA:
            raise RowError(
                f"schema {self.schema} is newer than {SCHEMA}, the newest this version reads; upgrade zsad-bench"
            )
        operator.index(self.seed)
        if type(self.variant) is not Variant:
            force_setattr(self, "variant", variant_of(self.variant))
        value = self.value
        interval = (self.ci_low, self.ci_high, self.ci_level)
        if value is None or math.isnan(value):
            force_setattr(self, "value", None)
            if not self.reason:
                self._refuse("an undefined value needs a reason, found none")
            if (self.error_bound, *interval) != (None,) * 4:
                self._refuse("an undefined value has no error bound and no interval; found one")
        else:
            if self.reason:
                self._refuse(f"a value ({value}) and a reason for a missing value ({self.reason!r}); give one")
            if not -_DUST <= value <= 1 + _DUST:
                self._refuse(f"{value} is outside [0, 1]; rows hold fractions, percent is for tables")
            if type(value) is not float or not 0 <= value <= 1:
                force_setattr(self, "value", min(max(float(value), 0.0), 1.0))
        if None in interval and interval != (None,) * 3:
            self._refuse(f"ci_low, ci_high and ci_level are given together, found {interval}")
        if not _is_utc(self.started):
            self._refuse(f"started={self.started!r} is not UTC like 2026-01-31T12:00:00Z; use rows.now()")

    def _refuse(self, why: str) -> None:
        raise RowError(f"{self.method} on {self.target}/{self.category}, {self.metric}: {why}")

    def to_json(self) -> str:
        """One line of JSON of the newest schema, without its line end; floats come back bit for bit."""
        record = {name: getattr(self, name) for name in FIELDS} | {"schema": SCHEMA}
        return json.dumps(record, ensure_ascii=False, allow_nan=False, default=_plain)

    def record(self) -> dict[str, Any]:
        """Field -> plain value, as tables, CSV files and wandb take it: variant and networks as people read them."""
        record = {name: getattr(self, name) for name in FIELDS}
        networks = ", ".join(f"{name}={weights}" for name, weights in sorted(self.networks.items()))
        return record | {"variant": str(self.variant), "networks": networks}


FIELDS = Row.__struct_fields__  # in the order of a line
_REQUIRED = frozenset(field.name for field in msgspec.structs.fields(Row) if field.required)


def _read_variant(kind: type, stored: Any) -> Any:
    return variant_of(stored)  # the only type of a row that msgspec does not know


_DECODER = msgspec.json.Decoder(Row, dec_hook=_read_variant)


def from_line(line: bytes) -> Row | None:
    """The row of a line; None where it is not JSON.

    Raises:
        RowError: as `from_record`.
    """
    try:
        return _DECODER.decode(line)
    except (msgspec.MsgspecError, RowError, UnicodeDecodeError):  # which of them matters, is seen by reading it plainly
        record = parse(line)
        return None if record is None else from_record(record)


def parse(line: bytes) -> Any:
    """What a line of JSON says, None for anything else (also `null`, which is not a row either)."""
    try:
        return json.loads(line)
    except ValueError:  # also what is not UTF-8
        return None


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
    try:
        return msgspec.convert(record, Row, dec_hook=_read_variant)
    except msgspec.ValidationError as error:
        raise RowError(f"a field has the wrong type ({error})") from None


@lru_cache(maxsize=1024)
def _is_utc(started: str) -> bool:
    """Whether this is a time as `now()` writes it."""
    return _TIME.fullmatch(started) is not None


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
    networks: Mapping[str, str] | None = None,
    maps_hash: str = "",
    calibrated_on: str = "",
) -> str:
    """16 hex digits naming everything that decides a cell's numbers, and nothing else.

    config: the resolved configuration, without the seed. networks: frozen ones beside the backbone, name -> hash of
    their weights. maps_hash: of saved maps, where these decide instead of a method. calibrated_on: hash of the normal
    images that thresholds come from. Where, when and under which commit it ran are provenance: a run elsewhere has the
    same key and supersedes.
    """
    decides = {
        "method": method,
        "method_version": method_version,
        "config": dict(config),
        "prior": prior,
        "prior_hash": prior_hash,
        "target": target,
        "data_hash": data_hash,
        "weights_hash": weights_hash,
        "seed": seed,
        "precision": precision,
        "metric_version": metric_version,
    }
    if networks:  # without any, the key is that of schema 1
        decides["networks"] = dict(networks)
    if maps_hash:
        decides["maps_hash"] = maps_hash
    if calibrated_on:
        decides["calibrated_on"] = calibrated_on
    return digest(decides)


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
    """A variant's options, and the Python number inside a numpy or torch scalar."""
    if isinstance(value, Variant):
        return dict(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a row cannot hold {type(value).__name__}")
