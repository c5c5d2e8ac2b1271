"""Which samples of a table can be decoded, known before anything is learned from them; a process opens each file once.

Pixels of a few images are in memory at a time, whatever the size of the table.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from zsad_bench.data import decode
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.types import Sample

_WINDOW = 64  # samples handed out at a time, so that results do not pile up


def unreadable(module: ZeroShotDataModule, samples: Sequence[Sample]) -> dict[str, str]:
    """Sample id -> one line that names the file, of every sample whose image or one of whose masks cannot be decoded.

    Raises:
        DatasetError: a file is missing.
    """

    def reason(sample: Sample) -> str:
        paths = (sample.image, *(sample.masks if module.has_masks else ()))
        found = (_reason(module.root / path, at > 0, *_state(module.root / path)) for at, path in enumerate(paths))
        return next(filter(None, found), "")

    bad: dict[str, str] = {}
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # decoding releases the interpreter
        for start in range(0, len(samples), _WINDOW):
            window = samples[start : start + _WINDOW]
            bad |= {s.id: why for s, why in zip(window, pool.map(reason, window), strict=True) if why}
    return bad


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=100_000)
def _reason(path: Path, is_mask: bool, size: int, changed: int) -> str:
    """Why a file cannot be decoded, or ""; size, changed: a file that was replaced is opened again."""
    try:
        (decode.read_mask if is_mask else decode.read_image)(path)
    except decode.UnreadableError as error:
        return " ".join(str(error).split())
    return ""
