"""Where data lives: datasets of the user's own under `ZSAD_DATA`, everything generated under `ZSAD_CACHE`."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

from zsad_bench.data import files
from zsad_bench.errors import DatasetError
from zsad_bench.path_lists import home


def data_root() -> Path | None:
    """The folder named by the environment variable ZSAD_DATA, or None when it is not set.

    Raises:
        DatasetError: it is set and is not a folder; ignoring it would quietly test on something else.
    """
    text = os.environ.get("ZSAD_DATA", "").strip()
    if not text:
        return None
    root = home(text).resolve()
    if not root.is_dir():
        raise DatasetError(f"ZSAD_DATA={text} is not a folder; create it, correct the path, or unset ZSAD_DATA")
    return root


def cache_root() -> Path:
    """ZSAD_CACHE, or `zsad_bench` in the cache folder of the platform; it need not exist yet."""
    if text := os.environ.get("ZSAD_CACHE", "").strip():
        return home(text).resolve()
    return _platform_cache() / "zsad_bench"


def find(*names: str) -> Path | None:
    """The first folder under ZSAD_DATA that is called like one of these names, or None."""
    return next(iter(find_all(*names)), None)


def find_all(*names: str) -> list[Path]:
    """The folders under ZSAD_DATA that are called like one of these names.

    Exact names first, in the order given; then those that differ in letter case or in what is neither letter nor digit
    alone (`MVTec-AD` is called like `mvtec_ad`), in the order of the names and of their own in bytes.
    """
    root = data_root()
    if root is None:
        return []
    there = files.folders(root)
    alike = [folder for name in names for folder in there if bare(folder) == bare(name)]
    return [root / folder for folder in dict.fromkeys([*(name for name in names if name in there), *alike])]


def bare(name: str) -> str:
    """The letters and digits of a name, whatever their case."""
    return "".join(letter for letter in unicodedata.normalize("NFC", name).casefold() if letter.isalnum())


def _platform_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
