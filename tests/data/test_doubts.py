# pytest tests/data/test_doubts.py
"""What looks wrong of a dataset as a whole: masks that mark nearly everything, drawings among photographs."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.data.miniatures.files import SIZE, write_image, write_mask
from zsad_bench.data.check import check
from zsad_bench.data.datasets.folder import Folder


@pytest.fixture
def root(tmp_path):
    for number in range(4):
        write_image(tmp_path / f"parts/good/{number}.png")
        write_image(tmp_path / f"parts/crack/{number}.png")
    return tmp_path / "parts"


def invert(path):
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


def seen(root, **options):
    """(findings of a check by kind, lines of a run) on the masks and drawings."""
    module = Folder(root, image_size=16, workers=0, **options)
    found = {finding.kind: finding.message for finding in check(Folder(root, **options)).findings}
    loader = module.test_dataloader()
    list(loader)
    return found, loader.said


def test_masks_that_mark_all_but_the_defect(root):
    for number in range(4):
        invert(write_mask(root / f"masks/crack/{number}.png", box=(4, 4, 8, 8)))
    found, said = seen(root)
    line = found["inverted_masks"]
    assert line.startswith("4 of 4 masks mark more than 90% of their image")
    assert str(root / "masks/crack/0.png") in line
    assert line in said, "the same words in a run"


@pytest.mark.parametrize("inverted", [0, 3])
def test_a_few_large_defects_are_no_matter(root, inverted):
    """Three of four masks are less than nine in ten."""
    for number in range(4):
        path = write_mask(root / f"masks/crack/{number}.png", box=(4, 4, 8, 8))
        if number < inverted:
            invert(path)
    found, said = seen(root)
    assert "inverted_masks" not in found
    assert not any("inverted" in line for line in said)


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "P"])
def test_drawings_among_photographs(root, mode):
    write_mask(root / "crack/drawing.png", mode=mode)
    found, said = seen(root)
    assert "1 of 9 images are of black and white alone" in found["mask_among_images"]
    assert found["mask_among_images"] in said


def test_where_all_images_are_drawings_nothing_is_odd(tmp_path):
    for kind in ("good", "crack"):
        write_mask(tmp_path / f"{kind}/0.png")
    assert "mask_among_images" not in seen(tmp_path)[0]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_jpeg_masks_are_cut_in_the_middle(root, suffix):
    """Whatever the name says, the content is JPEG: its ringing is a few grey levels high."""
    for number in range(4):
        mask = np.zeros((64, 96), np.uint8)
        mask[20:40, 20:50] = 255
        image = Image.fromarray(np.kron(np.zeros(SIZE[::-1], np.uint8), np.ones((4, 4), np.uint8)))
        image.convert("RGB").save(root / f"crack/{number}.png")
        (root / "masks/crack").mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(root / f"masks/crack/{number}{suffix}", format="JPEG", quality=90)
    cut, everything = (Folder(root, image_size=64, **more).table() for more in ({}, {"mask_threshold": 0}))
    at = next(i for i in range(8) if cut[i].label)
    assert abs(int(cut[at].mask.sum()) - 20 * 30 * 64 // 96) <= 40
    assert everything[at].mask.sum() > cut[at].mask.sum(), "ringing counts where it is asked for"
    assert Folder(root).manifest_hash != Folder(root, mask_threshold=0).manifest_hash
    assert any("4 masks are JPEG" in line for line in seen(root)[1])
