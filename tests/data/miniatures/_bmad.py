"""The sets of BMAD: phases of normal and anomalous images, in one of the ways in which their folders are laid out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_junk, write_mask, write_meta

STEMS = {"good": ("00000_60", "00012_61"), "Ungood": ("00003_60", "00004_7", "00012_61")}


def writer(category: str, kind: str, top: str, image: str, mask: str = "") -> Callable[[Path, str], list[Expected]]:
    """`write` of a miniature. top: the folder of the archive. image, mask: paths with {folder} and {stem}."""

    def write(root: Path, layout: str) -> list[Expected]:
        styled = layout == "mvtec_style"
        images = f"{category}/test/{{folder}}/{{stem}}.png" if styled else image
        masks = f"{category}/ground_truth/{{folder}}/{{stem}}.png" if mask and styled else mask
        root = root / top if layout == "raw" else root
        expected = []
        for label, (folder, stems) in enumerate(STEMS.items()):
            for number, stem in enumerate(stems):
                of = {"folder": folder, "stem": stem}
                name, masked = images.format(**of), masks.format(**of) if label else ""
                write_image(root / name, mode="L")
                if masked:
                    write_mask(root / masked, box=(1, 1, 4 + 5 * number, 9))
                shown = "good" if not label else "Ungood" if styled else kind
                expected.append(Expected(name, (masked,) if masked else (), label, category, shown))
        for other in ("train/good/00002_60.png", "valid/Ungood/img/00005_60.png", "valid/good/00006_60.png"):
            write_image(root / other, mode="L")
        write_junk((root / expected[-1].image).parent)
        if layout == "meta_json":
            records = [record(e.image, "".join(e.masks), category, kind * e.label, e.label) for e in expected]
            write_meta(root / "meta.json", {"train": {category: []}, "test": {category: records[::-1]}})
        return expected

    return write
