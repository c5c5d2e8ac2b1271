# pytest tests/data/test_overlap.py
"""The leak guard: no dataset and no image on both sides."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from zsad_bench.data import overlap
from zsad_bench.data.overlap import check_overlap
from zsad_bench.errors import OverlapError
from zsad_bench.types import Sample


@dataclass
class Folder:
    """The least that the overlap guard looks at."""

    name: str
    root: Path

    def samples(self) -> list[Sample]:
        images = sorted(p.relative_to(self.root).as_posix() for p in self.root.glob("*"))
        return [Sample(i, (), 0, "c", "good", "test") for i in images]


def folder(root: Path, **files: bytes) -> Folder:
    root.mkdir()
    for name, content in files.items():
        (root / name).write_bytes(content)
    return Folder(root.name, root)


def test_same_dataset_on_both_sides(tmp_path):
    table = folder(tmp_path / "mvtec", a=b"1")
    with pytest.raises(OverlapError, match="'mvtec' is both"):
        check_overlap([table], [table])


def test_same_image_in_two_datasets(tmp_path):
    learned = folder(tmp_path / "brainmri", a=b"11", b=b"22", c=b"333")
    tested = folder(tmp_path / "br35h", x=b"44", y=b"22", z=b"333")
    with pytest.raises(OverlapError, match=r"brainmri/b and target image br35h/y .*1 more"):
        check_overlap([learned], [tested])


def test_different_images_of_one_size_pass(tmp_path):
    check_overlap([folder(tmp_path / "a", x=b"11")], [folder(tmp_path / "b", x=b"22", y=b"33")])


def test_demo_priors_and_targets_share_nothing(small_demo, tmp_path):
    targets = [small_demo(n) for n in ("demo_textures", "demo_objects", "demo_medical")]
    check_overlap([small_demo("demo_rich"), small_demo("demo_limited")], targets)
    shutil.copytree(targets[0].root, tmp_path / "stolen")
    with pytest.raises(OverlapError, match="demo_textures/"):
        check_overlap([Folder("stolen", tmp_path / "stolen" / "carpet" / "test" / "good")], targets)


# --- pixels, whatever the file is like --------------------------------------------------------------------------------


def photograph(seed: int, size: tuple[int, int] = (72, 56)) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)


def few_colours(seed: int) -> Image.Image:
    return photograph(seed).quantize(64).convert("RGB")


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def note() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "of another camera")
    return info


def scaled_to_16_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


SAME_PIXELS = {
    "another container": lambda i: encoded(i, "BMP"),
    "another compression": lambda i: encoded(i, "PNG", compress_level=1),
    "a byte appended": lambda i: encoded(i, "PNG") + b"\0",
    "metadata": lambda i: encoded(i, "PNG", pnginfo=note()),
    "resolution": lambda i: encoded(i, "PNG", dpi=(300, 300)),
    "TIFF": lambda i: encoded(i, "TIFF", compression="tiff_lzw"),
    "a palette": lambda i: encoded(i.quantize(256), "PNG"),
    "opaque alpha": lambda i: encoded(i.convert("RGBA"), "PNG"),
}


def tables(tmp_path: Path, one: dict[str, bytes], other: dict[str, bytes]) -> tuple[Folder, Folder]:
    return folder(tmp_path / "learned", **one), folder(tmp_path / "tested", **other)


@pytest.mark.parametrize("how", SAME_PIXELS)
def test_the_same_pixels_are_refused(tmp_path, how):
    image = few_colours(1)
    learned, tested = tables(
        tmp_path,
        {"a.png": encoded(image, "PNG"), "b.png": encoded(photograph(2), "PNG")},
        {"x.png": encoded(photograph(3), "PNG"), "y.png": SAME_PIXELS[how](image)},
    )
    assert (learned.root / "a.png").read_bytes() != (tested.root / "y.png").read_bytes()
    with pytest.raises(OverlapError, match=r"learned/a\.png and target image tested/y\.png are the same pixels"):
        check_overlap([learned], [tested])


def test_grey_in_16_bits_is_the_same_photograph(tmp_path):
    image = photograph(4).convert("L")
    learned, tested = tables(
        tmp_path, {"a.png": encoded(image, "PNG")}, {"y.png": encoded(scaled_to_16_bits(image), "PNG")}
    )
    with pytest.raises(OverlapError, match="the same pixels"):
        check_overlap([learned], [tested])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 71), st.integers(0, 55), st.integers(0, 2), st.integers(1, 255))
def test_one_pixel_is_another_image_and_a_near_duplicate(x, y, channel, change):
    import tempfile

    image = photograph(1)
    pixels = np.asarray(image).copy()
    pixels[y, x, channel] ^= change
    with tempfile.TemporaryDirectory() as place:
        learned, tested = tables(
            Path(place),
            {f"{seed}.png": encoded(photograph(seed), "PNG") for seed in range(4)},
            {"y.png": encoded(Image.fromarray(pixels), "PNG")},
        )
        assert check_overlap([learned], [tested]) == [("learned/1.png", "tested", "y.png")]


# --- near-duplicates --------------------------------------------------------------------------------------------------

ALIKE = {
    "JPEG": lambda i: encoded(i, "JPEG", quality=75),
    "smaller": lambda i: encoded(i.resize((48, 40)), "PNG"),
    "larger": lambda i: encoded(i.resize((150, 120)), "PNG"),
    "mirrored": lambda i: encoded(ImageOps.mirror(i), "PNG"),
    "upside down": lambda i: encoded(ImageOps.flip(i), "PNG"),
    "turned": lambda i: encoded(i.transpose(Image.Transpose.ROTATE_270), "PNG"),
    "all of it": lambda i: encoded(ImageOps.mirror(i).resize((60, 60)), "JPEG", quality=80),
}


@pytest.mark.parametrize("how", ALIKE)
def test_look_alikes_are_returned_with_their_partners(tmp_path, how):
    learned, tested = tables(
        tmp_path,
        {f"{seed}.png": encoded(photograph(seed), "PNG") for seed in range(8)},
        {"new.png": encoded(photograph(20), "PNG"), "old.png": ALIKE[how](photograph(5))},
    )
    assert check_overlap([learned], [tested]) == [("learned/5.png", "tested", "old.png")]


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
def test_images_of_one_colour_are_no_evidence(tmp_path, mode):
    flat = {f"{kind}.{kind}": encoded(Image.new(mode, (40, 30)), kind) for kind in ("png", "bmp")}
    learned, tested = tables(tmp_path, flat, {**flat, "z.png": encoded(Image.new(mode, (20, 20)), "PNG")})
    assert check_overlap([learned], [tested]) == []


def test_files_that_cannot_be_looked_at_do_not_stop_the_guard(tmp_path):
    good = encoded(photograph(1), "PNG")
    learned, tested = tables(tmp_path, {"a.png": good, "cut.png": good[:200]}, {"x.png": good[:300], "y.png": b"404"})
    (tested.root / "loop.png").symlink_to("loop.png")
    (tested.root / "gone.png").symlink_to("nowhere.png")
    assert check_overlap([learned], [tested]) == []
    (tested.root / "linked.png").symlink_to(learned.root / "a.png")
    with pytest.raises(OverlapError, match=r"tested/linked\.png are the same file content"):
        check_overlap([learned], [tested])


def test_every_image_may_be_flat_or_bad(tmp_path):
    learned, tested = tables(
        tmp_path, {"a.png": b"no image"}, {"x.png": encoded(photograph(1), "PNG"), "y.png": b"nor this"}
    )
    assert check_overlap([learned], [tested]) == []
    assert check_overlap([tested], [learned]) == []
    assert check_overlap([], [tested]) == check_overlap([learned], []) == []


def test_a_long_look_is_announced_once(tmp_path, monkeypatch):
    monkeypatch.setattr(overlap, "_MANY", 2)
    learned, tested = tables(
        tmp_path,
        {f"{seed}.png": encoded(photograph(seed), "PNG") for seed in range(3)},
        {"x.png": encoded(photograph(9), "PNG")},
    )
    lines: list[str] = []
    for _ in range(2):
        check_overlap([learned], [tested], lines.append)
    assert lines == ["the leak guard looks at 3 images of learned, this first time only"]
