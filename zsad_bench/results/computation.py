"""What a configuration computes, without a measurement: how much of it learns, and the operations of one image.

Rows say it since these fields exist. For older ones `zsad-bench rows costs` counts it from their configuration, into
`costs.json` beside the rows: rows themselves are never changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from zsad_bench.atomic import write_whole
from zsad_bench.errors import RowError
from zsad_bench.results.row import Row

FILE = "costs.json"  # of a board
_FORM = 1


class Configuration(NamedTuple):
    """What decides a computation; seeds, data and the values of weights have no say in it."""

    method: str
    method_version: str
    backbone: str
    config_hash: str

    @classmethod
    def of(cls, row: Row) -> Configuration:
        return cls(row.method, row.method_version, row.backbone, row.config_hash)


class Computation(NamedTuple):
    """trained_parameters: as many as change in any stage of training, 0 for a method that does not train.

    gflops: 1e9 floating-point operations to encode and score one image, texts cached; None where unknown.
    """

    trained_parameters: int | None = None
    gflops: float | None = None

    @classmethod
    def of(cls, row: Row) -> Computation:
        """As the row itself says it."""
        return cls(row.trained_parameters, row.gflops)


Computations = Mapping[Configuration, Computation]


def read(board: Path) -> dict[Configuration, Computation]:
    """What `costs.json` of a board says; {} where there is none.

    Raises:
        RowError: a file that is not as `write` writes it.
    """
    path = board / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["form"] != _FORM:
            raise ValueError(f"form {content['form']}, expected {_FORM}")
        return {
            Configuration(**{name: str(one[name]) for name in Configuration._fields}): Computation(
                *(None if one[name] is None else kind(one[name]) for name, kind in _NUMBERS.items())
            )
            for one in content["configurations"]
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RowError(
            f"{path}: not the costs of configurations ({error}); remove it and run `zsad-bench rows costs`"
        ) from None


def text(found: Computations) -> bytes:
    """The content of `costs.json`, the same for any order."""
    configurations = [of._asdict() | one._asdict() for of, one in sorted(found.items())]
    return json.dumps({"form": _FORM, "configurations": configurations}, indent=1).encode() + b"\n"


def write(board: Path, found: Computations) -> Path:
    """Writes `costs.json` of a board; returns its path."""
    return write_whole(board / FILE, text(found))


_NUMBERS = {"trained_parameters": int, "gflops": float}
