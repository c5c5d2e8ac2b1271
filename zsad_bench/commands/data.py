"""`zsad-bench data`: the generated datasets."""

from __future__ import annotations

import time

from zsad_bench.console import Console
from zsad_bench.data.demo.suite import PARTS, ensure


def make_demo(seed: int) -> None:
    """Generates every demo dataset that is not in the cache yet, and says where each lies."""
    console = Console()
    for part in PARTS:
        started = time.perf_counter()
        folder = ensure(part, seed=seed)
        console.print(f"{part}: {folder} ({time.perf_counter() - started:.1f} s)")
