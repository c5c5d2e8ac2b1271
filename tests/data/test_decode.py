# pytest tests/data/test_decode.py
"""Pixels are what the file says: every mode and range, every orientation, every form of a mask, and no damage unseen.

Expectations are arithmetic on the arrays that were written. `test_forms.py` holds the tables of docs/datasets.md.
"""

from __future__ import annotations

import io
import itertools
import struct
import threading
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageFile

from tests.data import handmade
from zsad_bench.data import decode
from zsad_bench.data.decode import UnreadableError, read_image, read_mask

quick = settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def kept(tmp_path):
    """kept(bytes): the path of a file of these bytes, whose suffix says nothing."""
    numbers = itertools.count()

    def write(content: bytes):
        path = tmp_path / f"{next(numbers)}.image"
        path.write_bytes(content)
        return path

    return write


def encoded(image, format, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def grey(path) -> np.ndarray:
    """The one channel that all three are."""
    pixels = np.asarray(read_image(path).image)
    assert pixels.dtype == np.uint8
    assert (pixels == pixels[..., :1]).all(), "grey became a colour"
    return pixels[..., 0]


def marks(path, threshold=0) -> np.ndarray:
    decoded = read_mask(path, threshold)
    assert decoded.image.mode == "L"
    values = np.asarray(decoded.image)
    assert set(np.unique(values)) <= {0, 255}
    return values > 0


def refusal(read, path) -> str:
    with pytest.raises(UnreadableError) as caught:
        read(path)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    assert ";" in line, f"no remedy: {line}"
    return line


def of(dtype, low=0, high=None, shape=(5, 7)):
    dtype = np.dtype(dtype)
    high = np.iinfo(dtype).max if high is None else high
    return arrays(dtype, shape, elements=st.integers(low, high))


# --- ranges of images -------------------------------------------------------------------------------------------------


SIXTEEN = {
    "png": lambda a: handmade.png(a, 16),
    "png by pillow": lambda a: encoded(Image.fromarray(a), "PNG"),
    "tiff": lambda a: encoded(Image.fromarray(a), "TIFF"),
    "tiff lzw": lambda a: encoded(Image.fromarray(a), "TIFF", compression="tiff_lzw"),
    "tiff big-endian": lambda a: handmade.tiff([(a, {})], ">"),
    "tiff little-endian": lambda a: handmade.tiff([(a, {})], "<"),
    "pgm": lambda a: b"P5 %d %d 65535\n" % a.shape[::-1] + a.astype(">u2").tobytes(),
    "jpeg 2000": lambda a: encoded(Image.fromarray(a), "JPEG2000", irreversible=False),
}


@pytest.mark.parametrize("form", SIXTEEN)
@quick
@given(values=of(np.uint16, shape=(32, 33)))
def test_sixteen_bits_keep_their_upper_eight(kept, form, values):
    path = kept(SIXTEEN[form](values))
    assert (grey(path) == values // 256).all()
    assert "grey16" in read_image(path).done


@pytest.mark.parametrize("form", SIXTEEN)
def test_eight_bits_spread_over_sixteen_come_back(kept, form):
    values = np.arange(256, dtype=np.uint16).reshape(16, 16).repeat(3, 0).repeat(3, 1)
    assert (grey(kept(SIXTEEN[form](values * 257))) == values).all()


@quick
@given(values=of(np.uint16))
def test_white_may_be_zero(kept, values):
    path = kept(handmade.tiff([(values, {262: 0})]))
    assert (grey(path) == (65535 - values) // 256).all()
    assert (marks(path) == (values < 65535)).all()


@quick
@given(values=of(np.uint16, high=4095, shape=(5, 8)))
def test_twelve_bits_keep_their_upper_eight(kept, values):
    pairs = values.reshape(-1, 2).astype(int)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
    path = kept(handmade.tiff([(values, {258: 12})], data=[packed.astype(np.uint8).tobytes()]))
    assert (grey(path) == values // 16).all()
    assert read_image(path).done[0] == "grey12"
    assert (marks(path) == (values > 0)).all()


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint32, 32), (np.int32, 31), (np.int16, 15)])
@quick
@given(data=st.data())
def test_wider_and_signed_integers_are_scaled_by_their_type(kept, dtype, bits, data):
    values = data.draw(of(dtype))
    values[0, 0] = np.iinfo(dtype).max
    path = kept(handmade.tiff([(values, {})]))
    assert (grey(path) == values.astype(np.int64) >> bits - 8).all()
    assert (marks(path) == (values > 0)).all()
    assert (marks(path, 127) == (values.astype(object) * 255 > 127 * (2**bits - 1))).all()


@pytest.mark.parametrize("dtype", [np.uint32, np.int32])
@pytest.mark.parametrize("high", [1, 255, 65535, 2**23 - 1])
def test_wide_integers_that_would_come_out_black_are_refused(kept, dtype, high):
    values = np.array([[0, high // 2], [1, high]], dtype)
    line = refusal(read_image, kept(handmade.tiff([(values, {})])))
    assert f"0 to {high}" in line
    assert "8 or 16 bits" in line


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_negative_values_are_refused(kept, dtype):
    values = np.array([[-5, 0], [7, 3000]], dtype)
    for read in (read_image, read_mask):
        assert "-5 to 3000" in refusal(read, kept(handmade.tiff([(values, {})])))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32])
@pytest.mark.parametrize("order", ["<", ">"])
def test_compressed_numbers_are_right_or_refused(kept, dtype, order):
    """Pillow exchanges the bytes of some big-endian files that libtiff has decompressed; 16-bit grey is read right."""
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    values = (np.linspace(0, 1, 12).reshape(3, 4) * top).astype(dtype)
    packed = zlib.compress(values.astype(values.dtype.newbyteorder(order)).tobytes())
    plain, path = (
        kept(handmade.tiff([(values, tags)], order, data)) for tags, data in (({}, None), ({259: 8}, [packed]))
    )
    if order == ">" and dtype in (np.int16, np.int32, np.float32):
        for read in (read_image, read_mask):
            assert "compressed big-endian TIFF" in refusal(read, path)
    else:
        assert (grey(path) == grey(plain)).all()


def test_signed_bytes_are_refused(kept):
    path = kept(handmade.tiff([(np.array([[-1, 5]], np.int8), {})]))
    assert "signed" in refusal(read_image, path)
    assert "signed" in refusal(read_mask, path)


floats = arrays(np.float32, (5, 7), elements=st.floats(0, 1, width=32))


@pytest.mark.parametrize("order", ["<", ">"])
@quick
@given(values=floats)
def test_floating_point_is_zero_to_one(kept, order, values):
    path = kept(handmade.tiff([(values, {})], order))
    off = np.abs(grey(path) - values.astype(np.float64) * 255)
    assert off.max() <= 0.5 + 1e-4
    assert "float" in read_image(path).done


@pytest.mark.parametrize("threshold", [0, 1, 127, 254])
def test_levels_written_as_floating_point_come_back(kept, threshold):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for values in (levels.astype(np.float32) / 255, levels.astype(np.float32)):
        path = kept(encoded(Image.fromarray(values), "TIFF"))
        assert (marks(path, threshold) == (levels > threshold)).all()
    assert (grey(kept(encoded(Image.fromarray(levels.astype(np.float32) / 255), "TIFF"))) == levels).all()


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([0, 255], "0 to 255"),
        ([-0.25, 1], "-0.25 to 1"),
        ([0, 1.001], "0 to 1.001"),
        ([0, np.nan], "nan"),
        ([np.inf, 0], "infinite"),
    ],
)
def test_other_floating_point_is_refused(kept, values, found):
    path = kept(encoded(Image.fromarray(np.array([values], np.float32)), "TIFF"))
    assert found in refusal(read_image, path)
    if max(values) not in (255, 1.001):
        assert found in refusal(read_mask, path)


def test_a_float_mask_beyond_any_range_is_refused(kept):
    path = kept(encoded(Image.fromarray(np.array([[0, 300]], np.float32)), "TIFF"))
    assert "0 to 300" in refusal(read_mask, path)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@quick
@given(data=st.data())
def test_fewer_bits_are_spread_evenly(kept, bits, data):
    values = data.draw(of(np.uint8, high=2**bits - 1))
    path = kept(handmade.png(values, bits))
    assert (grey(path) == values * (255 // (2**bits - 1))).all()
    assert "uniform" in read_image(path).done or values.min() != values.max()
    assert set(decode.said((key, "") for key in read_image(path).done)) <= {"1 image is of one colour everywhere: "}
    for key in range(2**bits):
        path = kept(handmade.png(values, bits, extra=handmade.chunk(b"tRNS", struct.pack(">H", key))))
        assert (marks(path) == ((values > 0) & (values != key))).all(), f"the value {key} is transparent"
        assert ("alpha" in read_image(path).done) == (values == key).any()
        if bits > 2:
            break


@pytest.mark.parametrize("colour", [handmade.RGB, handmade.RGB_ALPHA, handmade.GREY_ALPHA])
@quick
@given(data=st.data())
def test_sixteen_bit_colours(kept, colour, data):
    channels = {handmade.RGB: 3, handmade.RGB_ALPHA: 4, handmade.GREY_ALPHA: 2}[colour]
    values = data.draw(
        arrays(np.uint16, (5, 7, channels), elements=st.sampled_from([0, 1, 255, 256, 257, 32639, 32640, 65535]))
    )
    path = kept(handmade.png(values, 16, colour))
    shown = values[..., :1] if channels == 2 else values[..., :3]
    assert (np.asarray(read_image(path).image) == shown // 256).all()
    assert "colours16" in read_image(path).done
    opacity = values[..., -1].astype(object) if channels in (2, 4) else 65535
    for threshold in (0, 1, 127):
        expected = shown.max(-1).astype(object) * opacity * 255 > threshold * 65535 * 65535
        assert (marks(path, threshold) == expected).all(), f"above {threshold}"


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_colours_of_a_tiff(kept, order):
    values = np.random.default_rng(0).integers(0, 2, (5, 7, 3)).astype(np.uint16) * np.uint16([1, 300, 60000])
    path = kept(handmade.tiff([(values, {})], order))
    assert (np.asarray(read_image(path).image) == values // 256).all()
    assert (marks(path) == values.any(-1)).all()


def test_sixteen_bit_colours_that_pillow_would_mix_up_are_refused(kept):
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    planes = np.moveaxis(values, 2, 0).tobytes()
    assert "planes" in refusal(read_image, kept(handmade.tiff([(values, {284: 2})], data=[planes])))


def test_dark_sixteen_bit_images_are_said_to_be_dark(kept):
    values = np.arange(35, dtype=np.uint16).reshape(5, 7) * 117  # up to 3978: a camera of 12 bits
    assert "dim" in read_image(kept(handmade.png(values, 16))).done
    assert "dim" not in read_image(kept(handmade.png(values * 16, 16))).done


def test_ordinary_images_are_as_pillow_converts_them(kept):
    """Bit for bit what was read before there was a rule."""
    pixels = np.random.default_rng(3).integers(0, 256, (40, 30, 3), np.uint8)
    for mode, format in itertools.product(("L", "RGB"), ("PNG", "JPEG", "BMP", "TIFF", "PPM", "WEBP")):
        content = encoded(Image.fromarray(pixels).convert(mode), format)
        read = read_image(kept(content))
        assert (np.asarray(read.image) == np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))).all()
        assert (read.done, read.stored, read.format) == ((), (30, 40), format)
        if mode == "L":
            plain = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
            for threshold in (0, 127, 254):
                assert (marks(kept(content), threshold) == (plain > threshold)).all()


# --- colours, palettes and transparency -------------------------------------------------------------------------------


colours = arrays(np.uint8, (5, 7, 4), elements=st.sampled_from([0, 1, 2, 127, 128, 254, 255]))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@quick
@given(values=colours)
def test_a_colour_mask_marks_what_is_neither_black_nor_transparent(kept, format, values):
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    path = kept(encoded(Image.fromarray(values), format, **options))
    for threshold in (0, 1, 127):
        exact = values[..., :3].max(-1).astype(int) * values[..., 3] > threshold * 255
        assert (marks(path, threshold) == exact).all(), f"above {threshold}"
    opaque = kept(encoded(Image.fromarray(values[..., :3]), format, **options))
    assert (marks(opaque) == values[..., :3].any(-1)).all()
    assert (np.asarray(read_image(path).image) == values[..., :3]).all(), "images keep the stored colours"
    assert ("alpha" in read_image(path).done) == (values[..., 3] < 255).any()


@quick
@given(values=colours)
def test_premultiplied_colours_are_counted_once(kept, values):
    """Of a TIFF with associated alpha the stored colours are already times their opacity."""
    stored = np.minimum(values, values[..., 3:])
    path = kept(handmade.tiff([(stored, {338: 1})]))
    assert (marks(path) == (stored[..., :3].any(-1) & (stored[..., 3] > 0))).all()
    grey_alpha = np.ascontiguousarray(stored[..., 2:])
    path = kept(handmade.tiff([(grey_alpha, {338: 1, 262: 1})]))
    assert (marks(path) == (grey_alpha[..., 0] > 0)).all()


@quick
@given(
    index=of(np.uint8, high=7),
    palette=arrays(np.uint8, (8, 3), elements=st.sampled_from([0, 1, 200])),
    alphas=arrays(np.uint8, 8, elements=st.sampled_from([0, 255])),
)
def test_palettes_are_read_by_their_colours(kept, index, palette, alphas):
    table = handmade.chunk(b"PLTE", palette.tobytes())
    plain = kept(handmade.png(index, 8, handmade.PALETTE, table))
    veiled = kept(handmade.png(index, 8, handmade.PALETTE, table + handmade.chunk(b"tRNS", alphas.tobytes())))
    for path in (plain, veiled):
        assert (np.asarray(read_image(path).image) == palette[index]).all()
    lit = palette.any(-1)
    by_index = not lit[index].any() and len(np.unique(index)) > 1
    assert (marks(plain) == (index > 0 if by_index else lit[index])).all()
    assert ("mask_index" in read_mask(plain).done) == by_index
    if not by_index:
        assert (marks(veiled) == (lit & (alphas > 0))[index]).all()


def test_an_index_mask_with_its_grey_palette(kept):
    index = np.array([[0, 1, 2]], np.uint8)
    image = Image.fromarray(index).convert("P")
    assert marks(kept(encoded(image, "PNG"))).tolist() == [[False, True, True]]


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_palettes_that_lack_a_colour_or_are_lacking(kept, read):
    index = np.array([[0, 1, 5]], np.uint8)
    two = handmade.chunk(b"PLTE", bytes(6))
    assert "colour 5 and a palette of 2" in refusal(read, kept(handmade.png(index, 8, handmade.PALETTE, two)))
    assert "palette is missing" in refusal(read, kept(handmade.png(index, 8, handmade.PALETTE)))


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr"])
def test_other_colour_spaces(kept, mode):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, 8:] = 255
    pixels[8:, :8] = (200, 30, 30)
    path = kept(encoded(Image.fromarray(pixels).convert(mode), "TIFF"))
    read = read_image(path)
    assert np.abs(np.asarray(read.image).astype(int) - pixels).max() <= 4
    assert "space" in read.done
    assert marks(path, 10).tolist() == (pixels.max(-1) > 10).tolist()


def test_a_cmyk_jpeg_is_not_inverted(kept):
    pixels = np.full((16, 16, 3), 30, np.uint8)
    pixels[8:] = 220
    read = read_image(kept(encoded(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=95)))
    assert np.abs(np.asarray(read.image).astype(int) - pixels).max() <= 8


def test_a_range_that_the_format_does_not_state_is_refused(kept):
    header = "".join(
        f"{card:<80}"
        for card in (
            "SIMPLE  =                    T", "BITPIX  =                   16", "NAXIS   =                    2",
            "NAXIS1  =                    2", "NAXIS2  =                    2", "END",
        )
    ).encode()  # fmt: skip
    path = kept(header.ljust(2880) + np.arange(4, dtype=">i2").tobytes().ljust(2880, b"\0"))
    assert "range" in refusal(read_image, path)
    assert "range" in refusal(read_mask, path)


# --- orientation ------------------------------------------------------------------------------------------------------


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),  # a quarter to the right
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: np.rot90(a),
}
UPRIGHT = np.random.default_rng(5).integers(0, 256, (6, 9, 3), np.uint8)


def tagged(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "TIFF lzw", "WEBP", "JPEG", "PNG late", "AVIF"])
def test_images_and_masks_stand_upright(kept, orientation, format):
    stored = UPRIGHT
    if format in ("JPEG", "AVIF"):
        stored = stored.repeat(8, 0).repeat(8, 1)
    options = {
        "WEBP": {"lossless": True}, "JPEG": {"quality": 95}, "TIFF lzw": {"compression": "tiff_lzw"},
        "AVIF": {"quality": 95},
    }.get(format, {})  # fmt: skip
    if format == "PNG late":
        whole = encoded(Image.fromarray(stored), "PNG")
        content = whole[:-12] + handmade.chunk(b"eXIf", tagged(orientation).tobytes()[6:]) + whole[-12:]
    else:
        content = encoded(Image.fromarray(stored), format.split()[0], exif=tagged(orientation), **options)
    path, expected = kept(content), TURNS[orientation](stored).astype(int)
    read = read_image(path)
    assert read.image.size == decode.size_of(path) == expected.shape[1::-1]
    assert read.stored == decode.stored_size_of(path) == stored.shape[1::-1]
    assert ("turned" in read.done) == (orientation != 1)
    off = np.abs(np.asarray(read.image).astype(int) - expected)
    assert off.mean() <= (12 if format in ("JPEG", "AVIF") else 0)
    if format not in ("JPEG", "AVIF"):
        assert (marks(path, 127) == (expected.max(-1) > 127)).all()
        assert ("mask_turned" in read_mask(path).done) == (orientation != 1)


@pytest.mark.parametrize("broken", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + bytes(30), b"no EXIF"])
def test_an_exif_that_says_nothing_turns_nothing(kept, broken):
    content = encoded(Image.fromarray(UPRIGHT), "PNG")
    path = kept(content[:33] + handmade.chunk(b"eXIf", broken) + content[33:])
    assert (np.asarray(read_image(path).image) == UPRIGHT).all()
    assert decode.size_of(path) == (9, 6)


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_orientations_that_do_not_exist_turn_nothing(kept, orientation):
    path = kept(encoded(Image.fromarray(UPRIGHT), "PNG", exif=tagged(orientation)))
    assert (np.asarray(read_image(path).image) == UPRIGHT).all()


def test_only_the_exif_turns_and_not_what_an_editor_wrote_beside_it(kept):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    path = kept(encoded(Image.fromarray(UPRIGHT), "WEBP", lossless=True, xmp=xmp))
    assert (np.asarray(read_image(path).image) == UPRIGHT).all()


# --- pages ------------------------------------------------------------------------------------------------------------


def pages(format, count=3, **options) -> tuple[bytes, np.ndarray]:
    """(a file of pages that differ, what any of them marks)."""
    each = np.zeros((count, 6, 9), np.uint8)
    for page in range(count):
        each[page, page, page : page + 2] = 255
    first, *more = (Image.fromarray(page) for page in each)
    return encoded(first, format, save_all=True, append_images=more, **options), each.any(0)


@pytest.mark.parametrize(
    ("format", "options"),
    [("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})],
)
def test_pages_of_a_mask_are_united_and_of_an_image_refused(kept, format, options):
    content, union = pages(format, **options)
    path = kept(content)
    assert (marks(path) == union).all()
    assert "mask_pages" in read_mask(path).done
    assert "3 " in refusal(read_image, path)
    with pytest.raises(UnreadableError):
        decode.size_of(path)


def test_pages_of_a_mask_in_two_sizes_are_refused(kept):
    content = encoded(Image.new("L", (9, 6)), "TIFF", save_all=True, append_images=[Image.new("L", (9, 7))])
    assert "9 x 6 and 9 x 7" in refusal(read_mask, kept(content))


@pytest.mark.parametrize("small", [{254: 1}, {255: 2}, {254: 4}])
@pytest.mark.parametrize("first", [False, True])
def test_smaller_copies_in_a_tiff_are_passed_over(kept, small, first):
    large, thumbnail = np.arange(54, dtype=np.uint8).reshape(6, 9), np.full((2, 3), 200, np.uint8)
    both = [(large, {}), (thumbnail, small)]
    path = kept(handmade.tiff(both[::-1] if first else both))
    read = read_image(path)
    assert (grey(path) == large).all()
    assert read.done == ("extra",)
    assert decode.size_of(path) == (9, 6)
    assert (marks(path) == (large > 0)).all()


def test_a_camera_file_gives_its_photograph(kept):
    """Stereo frames, previews and maps of gain lie behind the photograph in the files of phones and cameras."""
    ramp = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3)
    path = kept(encoded(ramp, "MPO", save_all=True, append_images=[Image.new("L", (4, 4))], quality=95))
    read = read_image(path)
    assert read.image.size == (8, 8)
    assert read.done == ("extra",)
    assert np.abs(grey(path).astype(int) - np.asarray(ramp)).max() < 12


def test_a_raw_file_of_a_camera_is_refused(kept):
    path = kept(handmade.tiff([(np.arange(6, dtype=np.uint8).reshape(2, 3), {254: 1, 330: 8})]))
    assert "preview" in refusal(read_image, path)


# --- masks in a lossy format ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "options", "lossy"),
    [
        ("JPEG", {"quality": 95}, True), ("TIFF", {"compression": "jpeg"}, True), ("WEBP", {"quality": 80}, True),
        ("AVIF", {}, True), ("JPEG2000", {}, True), ("PNG", {}, False), ("TIFF", {}, False), ("BMP", {}, False),
        ("WEBP", {"lossless": True}, False), ("GIF", {}, False),
    ],
)  # fmt: skip
def test_without_a_threshold_lossy_masks_are_cut_in_the_middle(kept, format, options, lossy):
    truth = np.zeros((48, 48), np.uint8)
    truth[16:32, 16:32] = 255
    truth[0, 0] = 100  # a faint level
    path = kept(encoded(Image.fromarray(truth), format, **options))
    read = read_mask(path, None)
    assert ("mask_lossy" in read.done) == lossy
    assert (np.asarray(read.image) == np.asarray(read_mask(path, 127 if lossy else 0).image)).all()
    assert (np.asarray(read.image) > 0)[0, 0] == (not lossy)
    assert "mask_lossy" not in read_mask(path, 0).done, "a threshold that was given is the user's"


# --- damage -----------------------------------------------------------------------------------------------------------


def picture(mode="RGB") -> Image.Image:
    y, x = np.mgrid[:40, :56]
    pixels = np.stack([y * 5, x * 4, (x + y) * 2], -1).astype(np.uint8)
    pixels[10:30, 10:30] = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


WHOLE = {
    "png": encoded(picture(), "PNG"),
    "png in parts": handmade.png(np.asarray(picture()), 8, handmade.RGB, idat=100),
    "png palette": encoded(picture("P"), "PNG"),
    "jpeg": encoded(picture(), "JPEG"),
    "jpeg grey": encoded(picture("L"), "JPEG"),
    "jpeg progressive": encoded(picture(), "JPEG", progressive=True),
    "jpeg optimised": encoded(picture(), "JPEG", optimize=True),
    "jpeg restarts": encoded(picture(), "JPEG", restart_marker_blocks=2),
    "gif": encoded(picture("P"), "GIF"),
    "webp": encoded(picture(), "WEBP"),
    "webp lossless": encoded(picture(), "WEBP", lossless=True),
    "bmp": encoded(picture(), "BMP"),
    "ppm": encoded(picture(), "PPM"),
    "pgm of 12 bits": b"P5 56 40 4095\n" + np.asarray(picture("L")).astype(">u2").tobytes(),
    "tiff": encoded(picture(), "TIFF"),
    "tiff lzw": encoded(picture(), "TIFF", compression="tiff_lzw"),
    "tiff deflate": encoded(picture(), "TIFF", compression="tiff_adobe_deflate"),
    "tiff jpeg": encoded(picture(), "TIFF", compression="jpeg"),
    "jpeg 2000": encoded(picture(), "JPEG2000"),
    "avif": encoded(picture(), "AVIF"),
    "qoi": encoded(picture(), "QOI"),
}
PLAIN = ("bmp", "ppm", "pgm of 12 bits", "tiff")  # a tail of zeros is black there, and nothing can tell


def seen_or_harmless(read, path, whole) -> bool:
    """Whether damage is refused, or else has changed no pixel."""
    found = told_or(read, path)
    return isinstance(found, str) or np.array_equal(np.asarray(found.image), whole)


def told_or(read, path):
    """What reading gives, or the line of the refusal; any other error is one of the test."""
    try:
        return read(path)
    except UnreadableError as error:
        line = str(error)
    assert str(path) in line
    assert "\n" not in line
    return line


@pytest.mark.parametrize("name", WHOLE)
@settings(quick, max_examples=15)
@given(data=st.data())
def test_a_file_cut_short_is_refused(kept, name, data):
    content = WHOLE[name]
    whole = np.asarray(read_image(kept(content)).image)
    path = kept(content[: data.draw(st.integers(1, len(content) - 1))])
    assert seen_or_harmless(read_image, path, whole)


@pytest.mark.parametrize("name", ["png", "png in parts", "jpeg", "jpeg progressive", "gif", "tiff", "tiff lzw"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_half_a_file_is_never_read(kept, name, share):
    content = WHOLE[name]
    refusal(read_image, kept(content[: int(len(content) * share)]))
    refusal(read_mask, kept(content[: int(len(content) * share)]))


@pytest.mark.parametrize("name", [name for name in WHOLE if name not in PLAIN])
@settings(quick, max_examples=15)
@given(data=st.data())
def test_a_tail_of_zeros_is_refused(kept, name, data):
    """As crashes and broken downloads leave it, from 32 bytes on: formats pad with a few."""
    content = WHOLE[name]
    whole = np.asarray(read_image(kept(content)).image)
    start = data.draw(st.integers(16, len(content) - 32))
    assert seen_or_harmless(read_image, kept(content[:start].ljust(len(content), b"\0")), whole)


@pytest.mark.parametrize("name", ["png", "png in parts", "png palette"])
@settings(quick, max_examples=40)
@given(data=st.data())
def test_no_changed_byte_of_a_png_goes_unseen(kept, name, data):
    content = bytearray(WHOLE[name])
    whole = np.asarray(read_image(kept(bytes(content))).image)
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    assert seen_or_harmless(read_image, kept(bytes(content)), whole)


@pytest.mark.parametrize("name", WHOLE)
@settings(quick, max_examples=15)
@given(data=st.data())
def test_whatever_is_changed_nothing_but_a_refusal_is_raised(kept, name, data):
    content = bytearray(WHOLE[name])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = kept(bytes(content))
    for read in (read_image, read_mask, decode.size_of):
        told_or(read, path)


@pytest.mark.parametrize("name", ["jpeg", "jpeg grey", "jpeg optimised"])
def test_a_hole_in_a_baseline_jpeg_is_seen(kept, name):
    big = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    content = bytearray(
        encoded(big.convert("L") if "grey" in name else big, "JPEG", optimize="opt" in name, quality=90)
    )
    middle = len(content) // 2
    content[middle : middle + 256] = bytes(256)
    assert "zeros" in refusal(read_image, kept(bytes(content)))


def test_flat_pictures_are_no_holes(kept):
    for optimize, progressive, value in itertools.product((False, True), (False, True), (0, 128, 255)):
        flat = np.full((256, 256, 3), value, np.uint8)
        flat[:8, :8] = 90
        content = encoded(Image.fromarray(flat), "JPEG", optimize=optimize, progressive=progressive)
        assert read_image(kept(content)).image.size == (256, 256)


@pytest.mark.parametrize(
    ("compression", "packed"),
    [
        (5, encoded(picture("L"), "TIFF", compression="tiff_lzw")),
        (32773, encoded(picture("L"), "TIFF", compression="packbits")),
        (8, encoded(picture("L"), "TIFF", compression="tiff_adobe_deflate")),
        (7, encoded(picture("L"), "TIFF", compression="jpeg")),
        (4, encoded(picture("1"), "TIFF", compression="group4")),
    ],
)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.9])
def test_strips_that_end_in_zeros_are_refused_though_the_directory_is_whole(kept, compression, packed, share):
    with Image.open(io.BytesIO(packed)) as file:
        tags = file.tag_v2
        offsets, counts = tags[273], tags[279]
    content = bytearray(packed)
    start, count = offsets[-1], counts[-1]
    gone = max(32, int(count * share))
    content[start + count - gone : start + count] = bytes(gone)
    assert read_image(kept(packed)).format == "TIFF"
    refusal(read_image, kept(bytes(content)))


def test_strips_beyond_the_end_are_refused(kept):
    values = np.arange(54, dtype=np.uint8).reshape(6, 9)
    content = handmade.tiff([(values, {})])
    for cut in (1, 9, 53):
        assert "cut short" in refusal(read_image, kept(content[:-cut]))


def test_run_lengths_of_a_bmp_that_end_early_are_refused(kept):
    rows = b"".join(bytes([56, row, 0, 0]) for row in range(40)) + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, 56, 40, 1, 8, 1, len(rows), 0, 0, 256, 0)
    start = 14 + 40 + 1024
    palette = b"".join(bytes([i, i, i, 0]) for i in range(256))
    content = b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + palette + rows
    path = kept(content)
    assert (grey(path) == np.arange(40)[::-1, None]).all()
    assert "cut short" in refusal(read_image, kept(content[:-60]))
    assert "zeros" in refusal(read_image, kept(content[:-60].ljust(len(content), b"\0")))


@pytest.mark.parametrize("name", WHOLE)
def test_what_follows_the_picture_does_not_matter(kept, name):
    content = WHOLE[name]
    if name == "qoi":
        pytest.skip("nothing follows the end of a QOI")
    assert (np.asarray(read_image(kept(content + b"more")).image) == np.asarray(read_image(kept(content)).image)).all()


@pytest.mark.parametrize("name", ["png", "jpeg", "gif", "tiff", "bmp", "ppm", "tiff lzw"])
def test_another_library_cannot_make_us_lenient(kept, name, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    path = kept(WHOLE[name][: len(WHOLE[name]) // 2])
    refusal(read_image, path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True, "the other library's wish is its own"


def test_strictness_holds_among_threads(kept, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    paths, read = [kept(WHOLE["tiff"][:3000]) for _ in range(40)], []

    def work(mine):
        for path in mine:
            if not isinstance(told_or(read_image, path), str):
                read.append(path)

    threads = [threading.Thread(target=work, args=(paths[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not read
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_for_eyes_a_damaged_file_is_shown(kept):
    noise = np.random.default_rng(10).integers(90, 110, (64, 64, 3), np.uint8)
    content = encoded(Image.fromarray(noise), "PNG")
    path = kept(content[: len(content) // 2].ljust(len(content), b"\0"))
    refusal(read_image, path)
    assert read_image(path, whole=False).image.size == (64, 64)


def test_a_program_that_calls_itself_an_image_is_not_run(kept):
    path = kept(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")
    assert "EPS" in refusal(read_image, path)


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (7, 5)])
def test_uniform_is_one_colour_everywhere(kept, shape):
    flat = np.full((*shape, 3), (10, 20, 30), np.uint8)
    assert "uniform" in read_image(kept(encoded(Image.fromarray(flat), "PNG"))).done
    for at in np.ndindex(shape):
        if shape == (1, 1):
            break
        other = flat.copy()
        other[*at, 2] += 1
        assert "uniform" not in read_image(kept(encoded(Image.fromarray(other), "PNG"))).done


def test_what_was_done_is_counted_by_file():
    done = [("turned", "b"), ("turned", "a"), ("turned", "a"), ("uniform", "z"), ("grey16", "c"), ("uniform", "y")]
    assert decode.said(done) == [
        "2 images carry an EXIF orientation and are turned upright",
        "1 image is 16-bit grey and scaled by the full range of its type",
        "2 images are of one colour everywhere, the first of them y",
    ]
    assert decode.said([]) == []


@pytest.mark.parametrize("key", decode.SAID)
def test_every_line_reads_well_for_one_and_for_several(key):
    one, two = decode.said([(key, "a")]), decode.said([(key, "a"), (key, "b")])
    for line in (*one, *two):
        assert not set("[]|") & set(line)
    assert one[0].startswith("1 ")
    assert two[0].startswith("2 ")
    assert zlib.crc32(one[0].encode()) != zlib.crc32(two[0].encode())
