# pytest tests/data/test_forms.py
"""The tables of docs/datasets.md on images and masks: every line is a test, by the words of the line.

Each builds a small folder dataset, and asks what is read, what `data check` says and what the loader of a run says.
"""

from __future__ import annotations

import io
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data import handmade
from zsad_bench.data import check as checks
from zsad_bench.data import decode
from zsad_bench.data.datasets.folder import Folder
from zsad_bench.data.decode import read_image, read_mask
from zsad_bench.errors import DatasetError

PAGE = (Path(__file__).parents[2] / "docs/datasets.md").read_text(encoding="utf-8")
H, W = 12, 16
RAMP = (np.arange(H * W) * 5 % 251).astype(np.uint8).reshape(H, W)  # 0 to 250, in an order that nothing else has
COLOURS = np.stack([RAMP, RAMP[::-1], 255 - RAMP], -1)
BOX = np.zeros((H, W), np.uint8)
BOX[3:7, 4:10] = 1
LARGE = np.roll(np.kron(BOX, np.ones((8, 8), np.uint8)), 3, (0, 1))  # its edges lie within the blocks of a JPEG
OTHER = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)


def lines(head: str) -> dict[str, str]:
    """First column -> last column of the table under this head."""
    table = PAGE[PAGE.index(f"| {head} |") :].split("\n\n")[0]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in table.splitlines()[2:]]
    return {row[0]: row[-1] for row in rows}


def encoded(array, format="PNG", mode=None, **options) -> bytes:
    out = io.BytesIO()
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(out, format, **options)
    return out.getvalue()


def pages(*arrays, format="TIFF") -> bytes:
    first, *more = map(Image.fromarray, arrays)
    out = io.BytesIO()
    first.save(out, format, save_all=True, append_images=more)
    return out.getvalue()


def packed(numbers) -> bytes:
    return zlib.compress(numbers.astype(numbers.dtype.newbyteorder(">")).tobytes())


def turned(array, orientation=6, format="PNG") -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(array, format, exif=exif)


def rgb(array) -> np.ndarray:
    return np.repeat(array[..., None], 3, -1) if array.ndim == 2 else array


VEILED = np.dstack([COLOURS, np.where(BOX, 255, 0).astype(np.uint8)])
INDEX = handmade.chunk(b"PLTE", bytes([0, 0, 0, 0, 1, 0, 200, 0, 0]))
BLACK = handmade.chunk(b"PLTE", bytes(9))

TWELVE = np.stack([RAMP[:, ::2], RAMP[:, 1::2] >> 4, RAMP[:, 1::2] << 4], -1)  # two values in three bytes
CARDS = ("SIMPLE  = T", "BITPIX  = 16", "NAXIS   = 2", f"NAXIS1  = {W}", f"NAXIS2  = {H}", "END")
FITS = "".join(card.ljust(80) for card in CARDS).encode().ljust(2880) + RAMP.astype(">i2").tobytes().ljust(2880, b"\0")

# A form -> (files of it, what is read: an array, None where only that it is read matters, or words of the refusal).
IMAGES = {
    "8-bit grey or RGB": [(encoded(RAMP), RAMP), (encoded(COLOURS, "BMP"), COLOURS)],
    "1-bit, or grey of 2 or 4 bits": [
        (handmade.png(RAMP % 2**bits, bits), RAMP % 2**bits * (255 // (2**bits - 1))) for bits in (1, 2, 4)
    ],
    "16-bit grey": [
        (handmade.png(RAMP.astype(np.uint16) * 257, 16), RAMP),
        (handmade.tiff([(RAMP.astype(np.uint16) * 256 + 9, {})], ">"), RAMP),
        (handmade.tiff([(RAMP.astype(np.uint16) * 257, {262: 0})]), 255 - RAMP),
    ],
    "12-bit grey (TIFF)": [(handmade.tiff([(RAMP, {258: 12})], data=[TWELVE.tobytes()]), RAMP)],
    "32-bit grey": [
        (handmade.tiff([(RAMP.astype(np.uint32) << 24, {})]), RAMP),
        (handmade.tiff([(RAMP.astype(np.uint32), {})]), "0 to 250 in 32 bits"),
    ],
    "signed, with negative values": [(handmade.tiff([(RAMP.astype(np.int16) - 3, {})]), "-3 to 247")],
    "grey where white is zero (TIFF)": [(handmade.tiff([(RAMP, {262: 0})]), 255 - RAMP)],
    "deep grey of a format that does not say its range (FITS)": [(FITS, "range")],
    "16-bit RGB, with or without alpha": [
        (handmade.png(COLOURS.astype(np.uint16) * 257, 16, handmade.RGB), COLOURS),
        (handmade.png(VEILED.astype(np.uint16) * 257, 16, handmade.RGB_ALPHA), COLOURS),
    ],
    "floating point from 0 to 1": [(encoded(RAMP.astype(np.float32) / 255, "TIFF"), RAMP)],
    "floating point beyond 0 to 1, or not finite": [
        (encoded(RAMP.astype(np.float32), "TIFF"), "0 to 250"),
        (encoded(np.where(BOX, np.nan, 0).astype(np.float32), "TIFF"), "24 of its 192 values are nan"),
    ],
    "32-bit or signed numbers in a TIFF that is compressed and big-endian": [
        (handmade.tiff([(numbers, {259: 8})], ">", [packed(numbers)]), "compressed big-endian TIFF")
        for numbers in (RAMP.astype(np.int16), RAMP.astype(np.int32), RAMP.astype(np.float32) / 255)
    ],
    "of a palette": [
        (handmade.png(BOX * 2, 8, handmade.PALETTE, INDEX), np.stack([BOX * 200, BOX * 0, BOX * 0], -1)),
        (handmade.png(BOX * 7, 8, handmade.PALETTE, INDEX), "colour 7 and a palette of 3"),
    ],
    "partly transparent (alpha, palette, tRNS)": [
        (encoded(VEILED), COLOURS),
        (encoded(VEILED, "TIFF"), COLOURS),
        (encoded(np.dstack([RAMP, VEILED[..., 3]])), RAMP),
        (encoded(RAMP, transparency=7), RAMP),
        (
            handmade.png(BOX, 8, handmade.PALETTE, INDEX + handmade.chunk(b"tRNS", b"\0")),
            np.stack([BOX * 0, BOX, BOX * 0], -1),
        ),
    ],
    "premultiplied by its opacity": [
        (
            handmade.tiff([(np.dstack([COLOURS // 2, np.full_like(RAMP, 127)]), {338: 1})]),
            np.minimum(COLOURS // 2 * 255.0 / 127, 255),
        )
    ],
    "CMYK, YCbCr or LAB": [
        (encoded(COLOURS, "TIFF", "CMYK"), COLOURS),
        (encoded(COLOURS, "TIFF", "YCbCr"), COLOURS),
        (encoded(COLOURS // 4 + 90, "TIFF", "LAB"), COLOURS // 4 + 90),
    ],
    "turned by its EXIF orientation": [
        (turned(COLOURS, format=format), np.rot90(COLOURS, -1)) for format in ("PNG", "TIFF")
    ],
    "a file of several pages or frames": [
        (pages(RAMP, RAMP.T), "2 pages"),
        (pages(COLOURS, COLOURS[::-1], COLOURS, format="GIF"), "3 frames"),
    ],
    "a photograph with further pictures (MPO of stereo cameras and phones, smaller copies in a TIFF)": [
        (handmade.tiff([(RAMP[::2, ::2], {254: 1}), (RAMP, {})]), RAMP),
        (pages(COLOURS, COLOURS[::-1], format="MPO"), None),
    ],
    "of one colour everywhere": [(encoded(np.full((H, W), 77, np.uint8)), np.full((H, W), 77))],
    "damaged: cut short, zeros at its end, a wrong checksum": [
        (encoded(COLOURS)[:-5], "cut short"),
        (encoded(COLOURS)[:-60].ljust(len(encoded(COLOURS)), b"\0"), "damaged|cut short"),
        (encoded(COLOURS, "JPEG")[:-2] + b"\0\0", "end mark"),
    ],
}
MASK = BOX.astype(bool)
MASKS = {
    "1-bit or 8-bit grey": [(encoded(BOX), MASK), (handmade.png(BOX, 1), MASK)],
    "16-bit or 32-bit grey": [
        (handmade.png(BOX.astype(np.uint16), 16), MASK),
        (handmade.tiff([(BOX.astype(np.uint32), {})]), MASK),
        (handmade.tiff([(BOX.astype(np.int32), {})]), MASK),
    ],
    "16-bit RGB": [(handmade.png(np.dstack([BOX * 0, BOX, BOX * 0]).astype(np.uint16), 16, handmade.RGB), MASK)],
    "floating point": [
        (encoded(BOX.astype(np.float32) * level, "TIFF"), MASK) for level in (0.001, 1, 3, 255)
    ],
    "in colour": [(encoded(np.dstack([BOX * (c == 0), BOX * (c == 1), BOX * (c == 2)])), MASK) for c in range(3)],
    "of a palette": [(handmade.png(BOX * i, 8, handmade.PALETTE, INDEX), MASK) for i in (1, 2)],
    "of a palette that paints everything black": [(handmade.png(BOX * 2, 8, handmade.PALETTE, BLACK), MASK)],
    "partly transparent": [
        (encoded(np.dstack([np.full((H, W, 3), colour, np.uint8), BOX * 255])), MASK)
        for colour in ((255, 255, 255), (255, 0, 0), (1, 1, 1))
    ],
    "of several pages or frames": [(pages(BOX * 255, BOX.T[:H].repeat(2, 1)[:, :W] * 0, BOX * 9), MASK)],
    "turned by its own EXIF orientation": [(turned(np.rot90(BOX)), MASK), (turned(BOX[::-1, ::-1], 3), MASK)],
    "in the geometry that its image has in the file, and the image is turned": [(encoded(BOX), "orientation")],
    "JPEG or of another lossy format, of one's own data": [
        (encoded(LARGE * np.uint8(255), "JPEG", quality=90), None)
    ],
}  # fmt: skip


def test_every_line_is_tried():
    assert list(lines("an image that is")) == list(IMAGES)
    assert list(lines("a mask that is")) == list(MASKS)


def dataset(root, normal: bytes, anomalous: bytes, mask: bytes | None):
    for name, content in (("good/a", normal), ("bad/b", anomalous), ("masks/bad/b", mask)):
        if content is not None:
            path = root / f"parts/{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return Folder(root / "parts", image_size=16, workers=0)


def heard(module) -> tuple[checks.Report, list[str], str]:
    """(what `data check` found, what the loader of a run says, the line that stops it)."""
    loader = module.test_dataloader()
    try:
        for _ in loader:
            pass
    except DatasetError as error:
        return checks.check(module), loader.said, str(error)
    return checks.check(module), loader.said, ""


@pytest.mark.parametrize("form", IMAGES)
def test_images_as_the_page_says(form, tmp_path):
    said = lines("an image that is")[form].startswith(("yes", "with a warning"))
    for number, (content, expected) in enumerate(IMAGES[form]):
        module = dataset(tmp_path / str(number), content, encoded(OTHER), encoded(BOX))
        path = module.root / "good/a.png"
        report, lines_of_run, stop = heard(module)
        if isinstance(expected, str):
            assert re.search(expected, stop)
            assert [f.kind for f in report.findings] == ["unreadable"]
            assert report.findings[0].message == stop, "a run and a check use the same words"
            continue
        read = read_image(path)
        if expected is not None:
            tolerance = 4 if form.startswith(("CMYK", "premultiplied")) else 0
            off = np.abs(np.asarray(read.image).astype(float) - rgb(expected))
            assert off.max() <= tolerance, f"{form}, file {number}: {off.max()}"
        findings = ["uniform"] if form == "of one colour everywhere" else []
        found = [f for f in report.findings if f.kind != "mask_among_images"]  # 1-bit pictures look like masks
        assert [f.kind for f in found] == findings
        told = decode.said([(key, str(path)) for key in read.done])
        assert stop == ""
        assert bool(told) == said, f"{form}, file {number}: {told}"
        assert set(told) <= set(lines_of_run)
        assert set(told) <= {*report.notes, *(f.message for f in report.findings)} or findings
        assert not findings or str(path) in report.findings[0].message


@pytest.mark.parametrize("form", MASKS)
def test_masks_as_the_page_says(form, tmp_path):
    said = lines("a mask that is")[form] in ("yes", "where it is in colour")
    for number, (content, expected) in enumerate(MASKS[form]):
        image = turned(COLOURS) if isinstance(expected, str) else encoded(COLOURS)
        if form.startswith("JPEG"):
            image = encoded(np.kron(COLOURS, np.ones((8, 8, 1), np.uint8)))
        module = dataset(tmp_path / str(number), encoded(OTHER), image, content)
        path = module.root / "masks/bad/b.png"
        report, lines_of_run, stop = heard(module)
        if isinstance(expected, str):
            assert expected in stop
            assert str(path) in stop
            assert [f.kind for f in report.findings] == ["mask_size"]
            assert report.findings[0].message == stop
            continue
        read = read_mask(path, module.mask_threshold)
        if expected is None:
            expected = LARGE > 0
            assert read_mask(path, 0).image.getbbox() != read.image.getbbox(), "there was no ringing to cut"
        assert ((np.asarray(read.image) > 0) == expected).all(), f"{form}, file {number}"
        assert report.findings == ()
        told = decode.said([(key, str(path)) for key in read.done])
        assert stop == ""
        assert bool(told) == said, f"{form}, file {number}: {told}"
        assert set(told) <= set(lines_of_run)
        assert set(told) <= set(report.notes)
