"""Real-IAD Variety: as Real-IAD, with its own names of folders and its 160 categories."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.real_iad import write_views
from zsad_bench.data.datasets.real_iad_variety import RealIadVariety

LAYOUTS = ("raw", "meta_json")
SAME = LAYOUTS
NAMES = [card.name for card in RealIadVariety.category_cards]


def write(root: Path, layout: str) -> list[Expected]:
    return write_views(root, layout, NAMES, "realiadvariety_raw", "Real-IAD_Variety_jsons")
