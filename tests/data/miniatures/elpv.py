"""ELPV: grey cells graded in labels.csv, deep in a recent repository version; prepared, the test split as folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_junk, write_meta

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = LAYOUTS
_GRADES = [0.0] * 8 + [1 / 3, 2 / 3] + [1.0] * 3  # cell0001 …
_TESTED = [f"cell{1 + i:04d}" for i in np.random.RandomState(42).permutation(8)[:2]]


def write(root: Path, layout: str) -> list[Expected]:
    cells = [(f"cell{n:04d}", grade, "mono" if n % 2 else "poly") for n, grade in enumerate(_GRADES, 1)]
    expected, phases = [], {"train": {"elpv": []}, "test": {"elpv": []}}
    if layout == "raw":
        data = root / "src/elpv_dataset/data"
        write_junk(data, ("__init__.py",))
        (data / "labels.csv").write_text("".join(f"images/{c}.png  {g!r:<20}  {m}\n" for c, g, m in cells))
    for cell, grade, module in cells:
        anomalous, tested = grade == 1, grade == 1 or cell in _TESTED
        kind = module if anomalous else "good"
        split = "test" if tested else "train"
        image = f"images/{cell}.png" if layout == "raw" else f"elpv/{split}/{kind}/{cell}.png"
        if layout == "raw":
            write_image(data / image, (20, 20), "L")
        elif grade in (0, 1):
            write_image(root / image, (20, 20), "L")
            phases[split]["elpv"].insert(0, record(image, "", "elpv", kind, int(anomalous)))
        if tested:
            expected.append(Expected(image, (), int(anomalous), "elpv", kind))
    if layout == "meta_json":
        write_meta(root / "meta.json", phases)
    return expected
