"""Count what the configurations of older rows compute, which the rows do not say; nothing is tested anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from zsad_bench.errors import RowError, UnknownNameError, ZsadError
from zsad_bench.options import Argument, Option
from zsad_bench.planning.suite import SUITES, Suite
from zsad_bench.printable import say
from zsad_bench.registry import did_you_mean
from zsad_bench.results import computation, rows
from zsad_bench.results.row import Row

if TYPE_CHECKING:
    from zsad_bench.methods.base import ZeroShotMethod


@dataclass(frozen=True, kw_only=True)
class Options:
    suite: Annotated[str, Argument("SUITE", "whose rows: demo or paper")]
    board: Annotated[str, Option("FOLDER", "that holds <suite>/rows", writes="folder")] = "leaderboards"
    weights: Annotated[str | None, Option("FILE|TAG", "of the suite's backbone, where it is not at hand")] = None


def run(options: Options) -> int:
    """Writes `<board>/<suite>/costs.json`, and says what is in it and which configurations could not be counted.

    Raises:
        UnknownNameError: no such suite. RowError: rows or an earlier file that cannot be read.
    """
    if options.suite not in SUITES:
        raise UnknownNameError(did_you_mean("suite", options.suite, SUITES))
    suite, folder = SUITES[options.suite], Path(options.board) / options.suite
    known = computation.read(folder)
    lacking = without(rows.load(folder / "rows"), known)
    for of, row in lacking.items():
        try:
            known[of] = counted(row, suite, options.weights)
        except ZsadError as error:
            say(f"{row.method}{f' ({row.variant})' if row.variant else ''} is not counted: {error}")
    if known:
        computation.write(folder, known)
    n_new = sum(of in known for of in lacking)
    say(f"{folder / computation.FILE}: {len(known)} configurations, {n_new} of them new")
    return 0


def without(found: Iterable[Row], known: computation.Computations) -> dict[computation.Configuration, Row]:
    """A row of each configuration that neither its rows nor the file say the computation of; saved maps have none."""
    of_each: dict[computation.Configuration, Row] = {}
    said = set(known)
    for row in found:
        if row.maps_hash:
            continue
        of = computation.Configuration.of(row)
        of_each[of] = row
        if None not in computation.Computation.of(row):
            said.add(of)
    return {of: row for of, row in sorted(of_each.items()) if of not in said}


def counted(row: Row, suite: Suite, weights: str | None = None) -> computation.Computation:
    """What the configuration of a row computes, built again from the suite and the row's variant.

    Raises:
        RowError: today's code makes another configuration of it, or another version of the method.
        ZsadError: the method, its options or its backbone are not here.
    """
    from zsad_bench.runner.computation import gflops, trained_parameters

    method = _built(row, suite, weights)
    return computation.Computation(trained_parameters(method), gflops(method))


def _built(row: Row, suite: Suite, weights: str | None) -> ZeroShotMethod:
    from zsad_bench.backbones.load import load_backbone
    from zsad_bench.planning.configure import build
    from zsad_bench.runner.row_writer import hashed_config

    usual, suites_own = suite.backbone_for(row.method)
    name = usual if row.backbone == "none" else row.backbone  # what uses none is built on the suite's
    backbone = load_backbone(name, weights or (suites_own if name == usual else None))
    settings = {key: value for key, value in row.variant.items() if key not in ("augment", "checkpoint")}
    method = build(row.method, backbone, {**suite.overrides_for(row.method), **settings}, row.seed)
    found = rows.digest(hashed_config(method))
    if (method.version, found) != (row.method_version, row.config_hash):
        raise RowError(
            f"its rows are of version {row.method_version}, configuration {row.config_hash}; this code makes version "
            f"{method.version}, configuration {found} of it; test it again"
        )
    return method
