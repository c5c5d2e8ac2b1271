"""DAGM: grey `.PNG` in two phases with defects in both, masks and Labels.txt in `Label/`; prepared as AdaCLIP does."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_junk, write_mask, write_meta

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = ("raw", "meta_json")  # the prepared copy of AdaCLIP holds other images
CLASSES = [f"Class{number}" for number in range(1, 11)]
# stem -> whether it has a defect; ids of the training phase go on from those of the test phase
PHASES = {"Test": {"0001": 0, "0002": 1, "0003": 0}, "Train": {"0576": 0, "0577": 0, "0578": 1, "0579": 0}}
BALANCED = {"0001": 0, "0002": 1, "0576": 0, "0578": 1}
SIZE = (16, 16)


def write(root: Path, layout: str) -> list[Expected]:
    if layout == "mvtec_style":
        return _write_prepared(root)
    root = root / "dagm_kaggleupload" if layout == "raw" else root  # copies nest
    expected, phases = [], {"Train": {}, "Test": {}}
    for category in CLASSES:
        for phase, images in PHASES.items():
            top = root / category / phase
            write_junk(top, ("Thumbs.db",))
            write_junk(top / "Label", ("Thumbs.db",))
            records = phases[phase][category] = []
            for stem, bad in images.items():
                image, mask = f"{category}/{phase}/{stem}.PNG", f"{category}/{phase}/Label/{stem}_label.PNG"
                write_image(root / image, SIZE, "L")
                if bad:
                    write_mask(root / mask, SIZE)
                if phase == "Test":
                    kind = "defect" if bad else "good"
                    expected.append(Expected(image, (mask,) if bad else (), bad, category, kind))
                records.insert(0, record(image, mask if bad else "", category, "", bad))
            if category != "Class10":  # the list may be absent
                (top / "Label/Labels.txt").write_text(labels(images), newline="\r\n")
    if layout == "meta_json":
        write_meta(root / "meta.json", phases)
    return expected


def labels(images: dict[str, int]) -> str:
    """Labels.txt of a phase; rows may end in a tab too many."""
    rows = [
        f"{number}\t{bad}\t{stem}.PNG\t0\t{f'{stem}_label.PNG' if bad else 0}" + "\t" * (number % 2)
        for number, (stem, bad) in enumerate(images.items(), 1)
    ]
    return "\n".join(["1", *rows]) + "\n"


def _write_prepared(root: Path) -> list[Expected]:
    expected = []
    for category in CLASSES:
        for stem, bad in BALANCED.items():
            kind = "defect" if bad else "good"
            image, mask = f"{category}/test/{kind}/{stem}.PNG", f"{category}/ground_truth/defect/{stem}.PNG"
            write_image(root / image, SIZE, "L")
            if bad:
                write_mask(root / mask, SIZE)
            expected.append(Expected(image, (mask,) if bad else (), bad, category, kind))
    return expected
