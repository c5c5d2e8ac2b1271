"""Whether the compiled loops of this folder can be used, and are worth the second that loading numba takes."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache

WORTH = 2**26  # pixels, some 250 images of 518 px: from there on the loops have saved what loading takes
_asked = [0]


@cache
def has_numba() -> bool:
    """Whether numba is installed: RCPRO can be computed fast, and other metrics faster."""
    return importlib.util.find_spec("numba") is not None


def is_worth_loading(n_pixels: int) -> bool:
    """Whether work on so many pixels should take the compiled loop: numba is loaded already, or it pays for itself.

    It pays once this process has asked for `WORTH` pixels in all. Which way is taken changes no value.
    """
    if not has_numba() or "numba" in sys.modules:
        return has_numba()
    _asked[0] += n_pixels
    return _asked[0] >= WORTH
