"""TIFF files of floating point, as anomaly maps are often saved.

Pillow does not open those of half and double precision. Of single precision it gives wrong numbers where the file is
compressed and has its upper bytes first: libtiff has swapped them by then, and Pillow 13.0 swaps them once more.
"""

from __future__ import annotations

import io
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from zsad_bench.data.decode import UnreadableError

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS, _SAMPLES, _ROWS, _COUNTS = (
    256, 257, 258, 259, 262, 273, 277, 278, 279,
)  # fmt: skip
_PREDICTOR, _TILE, _FORMAT = 317, 322, 339
_FLOAT = 3
_NONE, _DEFLATE = 1, (8, 32946)


def read(path: Path, data: bytes) -> NDArray | None:
    """(H,W) float16, float32 or float64 of such a TIFF; None of a file that is Pillow's to read.

    Read are files of one page and one channel, in strips, not compressed or by deflate without a predictor. Others are
    left to Pillow where it reads them right.

    Raises:
        UnreadableError: such a TIFF of another form, or one that is cut short; names the file.
    """
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return None
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        file = io.BytesIO(data)
        file.seek(tags.next or 0)
        tags.load(file)
        bits = tuple(tags.get(_BITS, (1,)))
        if set(tags.get(_FORMAT, (1,))) != {_FLOAT} or not set(bits) <= {16, 32, 64}:
            return None
        return _values(path, data, tags, bits)
    except UnreadableError:
        raise
    except Exception as error:  # Pillow raises anything on mangled tags
        raise UnreadableError(f"cannot read map {path} ({str(error) or type(error).__name__}); save it again") from None


def _values(path: Path, data: bytes, tags: Any, bits: tuple[int, ...]) -> NDArray | None:
    compression = tags.get(_COMPRESSION, _NONE)
    odd = [
        *([f"{len(bits)} channels"] if len(bits) > 1 or tags.get(_SAMPLES, 1) != 1 else []),
        *([f"compression {compression}"] if compression != _NONE and compression not in _DEFLATE else []),
        *(["a predictor"] if tags.get(_PREDICTOR, 1) != 1 else []),
        *(["tiles"] if _TILE in tags else []),
        *(["several pages"] if tags.next else []),
        *(["white as zero"] if tags.get(_PHOTOMETRIC, 1) == 0 else []),
    ]
    if odd and set(bits) == {32} and (data[:2] == b"II" or compression == _NONE):
        return None
    if odd:
        raise UnreadableError(
            f"map {path} is a {bits[0]}-bit floating-point TIFF with {' and '.join(odd)}, which is not read; save it "
            "as a plain TIFF of one channel, or as NPY"
        )
    width, height = int(tags[_WIDTH]), int(tags[_HEIGHT])
    order = "<" if data[:2] == b"II" else ">"
    rows = min(int(tags.get(_ROWS, height)), height)
    parts = []
    for number, (offset, count) in enumerate(zip(tags[_OFFSETS], tags[_COUNTS], strict=True)):
        strip = data[offset : offset + count]
        needed = min(rows, height - number * rows) * width * bits[0] // 8
        if compression != _NONE:
            strip = zlib.decompressobj().decompress(strip, needed + 1)
        if len(strip) < needed:
            raise UnreadableError(f"map {path} is cut short: strip {number} has {len(strip)} of {needed} bytes")
        parts.append(strip[:needed])
    if len(parts) != math.ceil(height / rows):
        raise UnreadableError(f"map {path} is cut short: {len(parts)} of {math.ceil(height / rows)} strips")
    values = np.frombuffer(b"".join(parts), dtype=f"{order}f{bits[0] // 8}").reshape(height, width)
    return values.astype(values.dtype.newbyteorder("="))
