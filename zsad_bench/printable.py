"""Names as they can be shown: one line stays one line, and nothing in it steers a terminal."""

from __future__ import annotations

import io
import sys

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str) -> str:
    r"""The text with what cannot be printed written out: `\n`, `\x1b`, ` `, and `\xc2` for a byte that is not UTF-8."""
    return text if text.isprintable() else "".join(map(_letter, text))


def is_utf8(text: str) -> bool:
    """Whether rows and pages can hold a name; they cannot hold one from a system with another encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def say(text: object, error: bool = False) -> None:
    """Prints one line. error: to standard error."""
    print(printable(str(text)), file=sys.stderr if error else sys.stdout, flush=True)


def never_fail_to_print() -> None:
    """From now on standard output writes what its encoding lacks as an escape, where it would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _letter(letter: str) -> str:
    code = ord(letter)
    if letter.isprintable():
        return letter
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds such a byte
        return f"\\x{code - 0xDC00:02x}"
    return _SHORT.get(letter) or letter.encode("unicode_escape").decode("ascii")
