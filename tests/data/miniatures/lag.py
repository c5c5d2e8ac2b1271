"""LAG: JPEG eye grounds in `image/`, with files of the same names in `attention_map/` and text in `label/`."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import write_image, write_junk

LAYOUTS = ("raw",)
SAME = LAYOUTS
NORMAL, ANOMALOUS = "non_glaucoma/image", "suspicious_glaucoma/image"
NORMALS = tuple(f"non_glaucoma_{n:03d}.jpg" for n in range(5))
ANOMALIES = tuple(f"suspicious_glaucoma_{n:03d}.jpg" for n in range(3))
DRAWN = (1, 4)  # of five, by numpy's RandomState(42).permutation


def write(root: Path, layout: str = "raw") -> list[Expected]:
    top = root / "LAG_database_part_1"
    for folder, names in ((NORMAL, NORMALS), (ANOMALOUS, ANOMALIES)):
        for name in names:
            write_image(top / folder / name)
            write_image(top / Path(folder).parent / "attention_map" / name, mode="L")
        write_junk(top / Path(folder).parent / "label", (f"{Path(name).stem}.txt" for name in names))
        write_junk(top / folder)
    expected = [Expected(f"{NORMAL}/{NORMALS[i]}", (), 0, "LAG", "good") for i in DRAWN]
    return expected + [Expected(f"{ANOMALOUS}/{name}", (), 1, "LAG", "glaucoma") for name in ANOMALIES]
