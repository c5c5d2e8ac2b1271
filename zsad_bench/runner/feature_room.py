"""How much room features may take without being asked for, and how sizes are written in lines."""

from __future__ import annotations

SHARE = 4  # the part of the free memory that is taken without being asked: a quarter
UNSAID = 10**8  # bytes in memory that are not worth a line


def readable(size: int) -> str:
    """ "1.5 GB", "42 MB", "3 kB"."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}" if size < 10 * scale else f"{size / scale:.0f} {unit}"
    return f"{size} bytes"
