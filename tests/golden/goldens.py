"""Where golden files are and which test takes which: `test_<name>.py` runs every `<name>*.npz` that is found.

ZSAD_GOLDEN_DIR makes the golden tests take another folder than tests/golden/data.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

HERE = Path(__file__).parent


class Compared(NamedTuple):
    """One comparison. test: its id. off: largest deviation; scale: largest golden value, both absolute."""

    test: str
    what: str
    off: float
    scale: float
    tolerance: float


compared: list[Compared] = []  # everything that `close` saw in this process, for benchmarks/parity.py


def golden_dir() -> Path:
    """The folder of golden files."""
    folder = Path(os.environ.get("ZSAD_GOLDEN_DIR") or HERE / "data")
    if not folder.is_dir():
        raise pytest.UsageError(f"golden files: no folder {folder}; set ZSAD_GOLDEN_DIR to one, or unset it")
    return folder


def golden_files() -> list[Path]:
    """Every golden array file, sorted by name."""
    return sorted(golden_dir().glob("*.npz"))


def names_with_a_test() -> list[str]:
    """The names that have a golden test: `test_<name>.py` beside this file."""
    return sorted(path.stem.removeprefix("test_") for path in HERE.glob("test_*.py") if path.stem != "test_goldens")


def golden_source(name: str) -> str | None:
    """What computed the golden numbers of a method: the string AGAINST of its test; None for tests of other things."""
    statements = ast.parse((HERE / f"test_{name}.py").read_text(encoding="utf-8")).body
    constants = {s.targets[0].id: s.value.value for s in statements
                 if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name)
                 and isinstance(s.value, ast.Constant)}  # fmt: skip
    return constants.get("AGAINST")


def owner(path: Path, names: list[str]) -> str | None:
    """The name that a golden file belongs to: the longest of `names` that its stem starts with."""
    return max((name for name in names if path.stem.startswith(name)), key=len, default=None)


def golden_paths(name: str) -> list[Path]:
    """The golden files of `name`: `metrics` has metrics.npz, metrics_seed7.npz…"""
    return [path for path in golden_files() if owner(path, names_with_a_test()) == name]


def golden_params(name: str) -> list:
    """`golden_paths` as parameters named after the files; without a file, one that skips and says so."""
    params = [pytest.param(path, id=path.name) for path in golden_paths(name)]
    missing = pytest.mark.skip(reason=f"no {name}*.npz among the golden files")
    return params or [pytest.param(None, id="none", marks=missing)]


def close(found: Any, expected: np.ndarray, tolerance: float, what: str) -> None:
    """Fails, saying by how much, unless `found` (tensor, array or number) is within `tolerance` everywhere."""
    found = np.asarray(found.detach() if isinstance(found, torch.Tensor) else found)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, golden {expected.shape}"
    off = float(np.abs(found - expected).max())
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    compared.append(Compared(test, what, off, float(np.abs(expected).max()), tolerance))
    assert off <= tolerance, f"{what}: off by {off:.2e}, allowed {tolerance:.0e}"
