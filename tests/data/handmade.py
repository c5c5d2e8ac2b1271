"""Image files put together byte by byte: forms that Pillow reads and cannot write, and damage in the right place."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # PNG colour types


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(values: np.ndarray, bits: int, colour: int = GREY, extra: bytes = b"", idat: int = 1 << 30) -> bytes:
    """values: (H,W) or (H,W,C) of `bits` bits. extra: chunks before the pixels. idat: most bytes of a chunk of them."""
    if bits == 16:
        rows = values.astype(">u2").reshape(len(values), -1).view(np.uint8)
    elif bits == 8:
        rows = values.astype(np.uint8).reshape(len(values), -1)
    else:
        single = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
        rows = np.packbits(single.reshape(len(values), -1), axis=-1)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    pixels = b"".join(chunk(b"IDAT", packed[at : at + idat]) for at in range(0, len(packed), idat))
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND", b"")


def tiff(
    pages: Sequence[tuple[np.ndarray, dict[int, object]]], order: str = "<", data: Sequence[bytes] | None = None
) -> bytes:
    """Uncompressed, the directories before the pixels.

    pages: (values (H,W) or (H,W,C), tags that differ from grey or RGB without sign). data: the strips of the pages, in
    place of the values.
    """
    strips = []
    for number, (values, _) in enumerate(pages):
        swapped = values.astype(values.dtype.newbyteorder(order))
        strips.append(swapped.tobytes() if data is None else data[number])
    listed = []
    for values, tags in pages:
        samples = values.shape[2] if values.ndim == 3 else 1
        kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
        usual = {
            256: values.shape[1],
            257: values.shape[0],
            258: [values.dtype.itemsize * 8] * samples,
            259: 1,
            262: 1 if samples == 1 else 2,
            273: 0,
            277: samples,
            278: values.shape[0],
            279: 0,
            339: [kind] * samples,
        }
        listed.append({key: value for key, value in sorted({**usual, **tags}.items()) if value is not None})
    at = 8
    starts = []
    for tags in listed:
        starts.append(at)
        at += 2 + 12 * len(tags) + 4 + sum(_beyond(value) for value in tags.values())
    out = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    for number, tags in enumerate(listed):
        tags[273], tags[279] = at + sum(map(len, strips[:number])), len(strips[number])
        outside = starts[number] + 2 + 12 * len(tags) + 4
        entries, extra = b"", b""
        for key, value in tags.items():
            many = value if isinstance(value, (list, tuple)) else [value]
            if _beyond(value):
                entries += struct.pack(order + "HHII", key, 3, len(many), outside + len(extra))
                extra += struct.pack(f"{order}{len(many)}H", *many)
            elif len(many) > 1:
                entries += struct.pack(order + "HHI", key, 3, 2) + struct.pack(order + "HH", *many)
            else:
                entries += struct.pack(order + "HHII", key, 4, 1, many[0])
        following = starts[number + 1] if number + 1 < len(listed) else 0
        out += struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", following) + extra
    return out + b"".join(strips)


def _beyond(value: object) -> int:
    """Bytes of a tag that do not fit in its entry."""
    return 2 * len(value) if isinstance(value, (list, tuple)) and len(value) > 2 else 0
