"""When two float32 results are the same: what another order of the same sums may change, and nothing beyond it.

Another processor, library, number of threads, batch or place in a batch takes another kernel, which sums in another
order and may or may not round between product and sum. So `torch.equal` compares the same computation only: the
same function of the same shapes, read at the same place. Everything else is asked to be close.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

# Of the largest entry. The towers of the tests are some sixteen matrix products deep, each a sum of 64 terms or more,
# and roundings add up like a random walk: sqrt(16 * 64) = 32 of them, of 2**-24 each. The kernels of AVX2, of SSE and
# of no vector unit at all were found to differ by 14 of them at most.
ROUNDING = 2.0**-24
SAME = 32 * ROUNDING


def assert_close(found: Any, expected: Any, what: str = "") -> None:
    """Fails, saying by how much, unless both have one shape and differ by less than `SAME` of the largest entry."""
    one, other = (np.asarray(x.detach() if torch.is_tensor(x) else x, np.float64) for x in (found, expected))
    assert one.shape == other.shape, f"{what}: shape {one.shape}, expected {other.shape}"
    off, largest = np.abs(one - other).max(initial=0), np.abs(other).max(initial=0)
    assert off <= SAME * largest, (
        f"{what or 'values'}: off by {off:.1e}, allowed {SAME * largest:.1e} ({SAME:.1e} of the largest)"
    )
