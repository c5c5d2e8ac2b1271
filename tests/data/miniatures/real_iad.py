"""Real-IAD: splits in JSON files beside a folder of categories, five views an object, one object seen on three."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_junk, write_mask, write_meta
from zsad_bench.data.datasets.real_iad import RealIad

LAYOUTS = ("raw", "meta_json")
SAME = LAYOUTS
NAMES = [card.name for card in RealIad.category_cards]
UNSEEN = (2, 5)  # views of a defective object on which the defect is not seen: no mask
FLAWED, WHOLE = "NG/HS/S0001", "OK/S0002"  # the folders of objects
IMAGES = "realiad_1024"


def write(root: Path, layout: str) -> list[Expected]:
    expected = write_views(root, layout, NAMES, IMAGES, "realiad_jsons")
    if layout == "raw":  # the splits of the view from above alone, which other variants read
        for category in NAMES:
            records = views_of(category, NAMES)
            train = of_view(category, "OK/S0009", 1)
            write_split(root / f"realiad_jsons_sv/{category}.json", category, records[::5] + records[1:2], [train])
    return expected


def views_of(category: str, names: Sequence[str]) -> list[dict[str, str | None]]:
    """Five views of an object with a defect; of the first category also of one without."""
    objects = [FLAWED, WHOLE] if category == names[0] else [FLAWED]
    return [of_view(category, folder, view) for folder in objects for view in range(1, 6)]


def write_views(root: Path, layout: str, names: Sequence[str], images: str, splits: str) -> list[Expected]:
    """Objects of these categories below the folder `images`, with the JSON files in the folder `splits`."""
    expected, phases = [], {"train": {}, "test": {}}
    for category in names:
        records = views_of(category, names)
        top = f"{images}/{category}"
        for of in records:
            write_image(root / top / of["image_path"])
            masks = ()
            if of["mask_path"]:
                masks = (f"{top}/{of['mask_path']}",)
                write_mask(root / masks[0])
            kind = of["anomaly_class"] if masks else "good"
            expected.append(Expected(f"{top}/{of['image_path']}", masks, len(masks), category, kind))
        mine = expected[-len(records) :]
        shown = [record(e.image, "".join(e.masks), category, e.anomaly_type, e.label) for e in mine]
        phases["test"][category] = shown[::-1]
        if layout == "raw":
            train = of_view(category, "OK/S0009", 1)
            write_image(root / top / train["image_path"])
            write_split(root / f"{splits}/{category}.json", category, records[::-1], [train])
    if layout == "raw":
        write_junk(root / splits, ("readme.txt",))
    else:
        write_meta(root / "meta.json", phases)
    return expected


def of_view(category: str, folder: str, view: int) -> dict[str, str | None]:
    """A record of a split, with the names of the release: the folder's object, and the date, in the image's name."""
    label, *kind, number = folder.split("/")
    stem = f"{folder}/{category}_{number[1:]}_{'_'.join([label, *kind])}_C{view}_20230922113033"
    return {
        "category": category,
        "anomaly_class": "".join(kind) or "OK",
        "image_path": f"{stem}.jpg",
        "mask_path": f"{stem}.png" if kind and view not in UNSEEN else None,
    }


def write_split(path: Path, category: str, test: list[dict], train: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = {"prefix": f"{category}/", "normal_class": "OK"}
    path.write_text(json.dumps({"meta": meta, "train": train, "test": test}))
