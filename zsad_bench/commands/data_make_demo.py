"""Generate the demo datasets into the cache (ZSAD_CACHE), unless they are there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

from zsad_bench.console import Console
from zsad_bench.options import Option


@dataclass(frozen=True, kw_only=True)
class Options:
    seed: Annotated[int, Option("N", "another draw of all images; the suite uses 0", at_least=0)] = 0


def run(options: Options) -> int:
    """Generates every demo dataset that is not in the cache yet, and says where each lies."""
    from zsad_bench.data.demo.suite import PARTS, ensure

    console = Console()
    for part in PARTS:
        started = time.perf_counter()
        folder = ensure(part, seed=options.seed)
        console.print(f"{part}: {folder} ({time.perf_counter() - started:.1f} s)")
    return 0
