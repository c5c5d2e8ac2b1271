"""Where data lives: datasets of the user's own under `ZSAD_DATA`, everything generated under `ZSAD_CACHE`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from zsad_bench.errors import DatasetError


def data_root() -> Path | None:
    """The folder named by the environment variable ZSAD_DATA, or None when it is not set.

    Raises:
        DatasetError: it is set and is no folder; ignoring it would quietly test on something else.
    """
    text = os.environ.get("ZSAD_DATA", "").strip()
    if not text:
        return None
    root = Path(text).expanduser().resolve()
    if not root.is_dir():
        raise DatasetError(f"ZSAD_DATA={text} is not a folder; create it, correct the path, or unset ZSAD_DATA")
    return root


def cache_root() -> Path:
    """ZSAD_CACHE, or `zsad_bench` in the cache folder of the platform; it need not exist yet."""
    if text := os.environ.get("ZSAD_CACHE", "").strip():
        return Path(text).expanduser().resolve()
    return _platform_cache() / "zsad_bench"


def find(*names: str) -> Path | None:
    """The first of these folders that exists under ZSAD_DATA, or None."""
    root = data_root()
    if root is None:
        return None
    return next((root / name for name in names if (root / name).is_dir()), None)


def _platform_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
