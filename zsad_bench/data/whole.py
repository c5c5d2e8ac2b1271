"""Whether a picture's file is whole, by what its format carries for that: checksums, end marks, lengths.

Pillow decodes some files that a crash or a broken download left half written: what is missing comes out black or grey.
What cannot be seen is a tail of zeros in formats without compression or marks (BMP, PPM, plain TIFF): it is black.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from PIL import TiffImagePlugin

_PNG = b"\x89PNG\r\n\x1a\n"
_WITHIN = frozenset(bytes([code]) for code in (0x00, *range(0xD0, 0xD8), 0xFF))  # no markers: stuffed, restart, fill
_NEVER = 16  # so many zero bytes do not end what is compressed; libwebp was seen to pad by eight
_RUN = 64  # nor do so many lie within a scan whose codes give zero bits another meaning than "as before"

# TIFF tags and values of Compression.
_OFFSETS, _COUNTS = (273, 324), (279, 325)  # of strips, of tiles
_PLAIN, _JPEG, _FAX3 = 1, 7, (2, 3)  # the fax codes of these end in as many zero bits as the writer likes


class DamagedError(ValueError):
    """The file is cut short or was changed; says by what it is known."""


def require_whole(data: bytes) -> None:
    """Nothing, when the file is whole as far as its format can tell; other formats than these are left to Pillow.

    PNG: every chunk has its checksum and the last one is there. JPEG: the end mark is there, and no part of a
    baseline scan was never written. GIF, BMP, WebP, AVIF, QOI: nothing is missing at the end.

    Raises:
        DamagedError: it is not.
    """
    if data.startswith(_PNG):
        _png(data)
    elif data.startswith(b"\xff\xd8\xff"):
        require_whole_jpeg(data)
    elif data.startswith((b"GIF87a", b"GIF89a")):
        _gif(data)
    elif data.startswith(b"BM"):
        _bmp(data)
    elif data.startswith(b"qoif"):
        if not data.endswith(b"\0\0\0\0\0\0\0\1"):
            raise DamagedError("its end mark is missing: cut short or never written to the end")
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        _no_zeros_at_the_end(data[: 8 + int.from_bytes(data[4:8], "little")], "it")
    elif data[4:12] == b"ftypavif":
        _avif(data)


def _png(data: bytes) -> None:
    at, view = len(_PNG), memoryview(data)
    while True:
        if at + 12 > len(data):
            raise DamagedError("its last chunk is missing: cut short")
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise DamagedError("a chunk reaches beyond its end: cut short")
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            printed = name.decode("ascii") if name.isalpha() else name.hex()
            raise DamagedError(f"the checksum of its chunk {printed} is wrong: damaged, or never written to the end")
        if name == b"IEND":
            return
        at = end + 4


def require_whole_jpeg(data: bytes) -> None:
    """Nothing, when the first picture of a JPEG file reaches its end mark; what follows it is another matter.

    Raises:
        DamagedError: it does not.
    """
    flat: dict[int, bool] = {}
    at, sequential, scan = 2, False, b""
    while True:
        start, at = at, _marker(data, at)
        if scan and _holed(data, start, at, scan, flat):
            raise DamagedError("a part of it is zeros that no encoder writes: never written, or damaged")
        marker, at, scan = data[at], at + 1, b""
        if marker == 0xD9:
            return
        if marker == 0x01:
            continue
        if marker < 0xC0 or marker == 0xD8:
            raise DamagedError(f"it holds the marker ff{marker:02x} where none may be: damaged")
        length = int.from_bytes(data[at : at + 2], "big")
        body, at = data[at + 2 : at + length], at + length
        if length < 2 or at > len(data):
            raise DamagedError("a segment reaches beyond its end: cut short")
        if marker in (0xC0, 0xC1):
            sequential = True
        elif marker == 0xC4:
            flat |= _flat_tables(body)
        elif marker == 0xDA and sequential:
            scan = body


def _marker(data: bytes, at: int) -> int:
    """Where the code of the next marker stands, passing over stuffed bytes, restarts and fill."""
    while (at := data.find(b"\xff", at)) >= 0:
        at += 1
        code = data[at : at + 1]
        if code and code not in _WITHIN:
            return at
    raise DamagedError("its end mark is missing: cut short or never written to the end")


def _flat_tables(body: bytes) -> dict[int, bool]:
    """Huffman tables of a segment, class and number as in the file -> whether zero bits say "no difference"."""
    flat: dict[int, bool] = {}
    at = 0
    while at + 17 < len(body):
        # The first symbol has the code that is all zeros.
        flat[body[at]] = body[at + 17] == 0
        at += 17 + sum(body[at + 1 : at + 17])
    return flat


def _holed(data: bytes, start: int, end: int, scan: bytes, flat: dict[int, bool]) -> bool:
    """Whether a baseline scan has a run of zero bytes that its codes would read as noise.

    Not at its end: some cameras fill up there, and what was never written lacks the end mark too.
    """
    used = [table for i in range(scan[0]) for table in _tables(scan[2 + 2 * i : 3 + 2 * i])]
    return not all(flat.get(table, True) for table in used) and bytes(_RUN) in data[start:end].rstrip(b"\0")


def _tables(selectors: bytes) -> tuple[int, ...]:
    return tuple(table for byte in selectors for table in (byte >> 4, 0x10 | byte & 0x0F))


def _gif(data: bytes) -> None:
    at = 13 + _gif_colours(data, 10)
    try:
        while (kind := data[at]) != 0x3B:
            if kind == 0:  # an empty block too many
                at += 1
                continue
            if kind == 0x2C:
                at += 11 + _gif_colours(data, at + 9)
            elif kind == 0x21:
                at += 2
            else:
                raise DamagedError("it holds a block of no kind: damaged, or never written to the end")
            while length := data[at]:  # blocks end with an empty one
                at += 1 + length
            at += 1
    except IndexError:
        raise DamagedError("its end mark is missing: cut short") from None


def _gif_colours(data: bytes, at: int) -> int:
    """Bytes of the table of colours that the flags at `at` announce."""
    flags = data[at] if at < len(data) else 0
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _avif(data: bytes) -> None:
    at = 0
    while at + 16 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        size = int.from_bytes(data[at + 8 : at + 16], "big") if size == 1 else size or len(data) - at
        if data[at + 4 : at + 8] == b"mdat":
            _no_zeros_at_the_end(data[at : at + size], "it")
        at += max(size, 8)


def _bmp(data: bytes) -> None:
    """Of run-length pictures alone: Pillow reads what is missing as zeros, and counts the rows of the others."""
    if len(data) < 38 or int.from_bytes(data[14:18], "little") < 40:
        return
    start, size = int.from_bytes(data[10:14], "little"), int.from_bytes(data[34:38], "little")
    if int.from_bytes(data[30:34], "little") in (1, 2):
        if start + size > len(data):
            raise DamagedError(f"its header says {start + size} bytes and it has {len(data)}: cut short")
        if size:
            _no_zeros_at_the_end(data[start : start + size], "it")


def require_whole_tiff(file: TiffImagePlugin.TiffImageFile, data: bytes) -> None:
    """Nothing, when what the current page of a TIFF file says lies in it does.

    Raises:
        DamagedError: a strip or tile reaches beyond the end, or ends in zeros that its compression cannot give.
    """
    tags = file.tag_v2
    compression = tags.get(259, 1)
    if compression == _JPEG and isinstance(tags.get(347), bytes):
        require_whole_jpeg(tags[347])  # the tables that all strips share
    for offsets, counts in zip(_OFFSETS, _COUNTS, strict=True):
        if offsets in tags and counts in tags:
            for start, count in zip(_many(tags[offsets]), _many(tags[counts]), strict=False):
                _strip(data, start, count, compression)


def _strip(data: bytes, start: int, count: int, compression: int) -> None:
    if start + count > len(data):
        raise DamagedError(f"a part of it lies beyond its end, at {start + count} of {len(data)} bytes: cut short")
    if compression in (_PLAIN, *_FAX3) or not count:
        return
    part = data[start : start + count]
    _no_zeros_at_the_end(part, "a part of it")
    if compression == _JPEG:
        require_whole_jpeg(part)


def _no_zeros_at_the_end(data: bytes, what: str) -> None:
    if len(data) > _NEVER and data.endswith(bytes(_NEVER)):
        raise DamagedError(f"{what} ends in zeros: never written to the end")


def _many(value: int | Sequence[int]) -> Sequence[int]:
    return (value,) if isinstance(value, int) else value
