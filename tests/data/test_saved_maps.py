# pytest tests/data/test_saved_maps.py
"""A saved map is the numbers of its file in any format; what cannot be the map of one image is refused by name."""

from __future__ import annotations

import hashlib
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from zsad_bench.data.decode import UnreadableError
from zsad_bench.data.saved_maps import listed, read_map

VALUES = np.array([[-3.25, 0.5, 30.0], [1e-3, 7.0, -0.0]], np.float32)
WHOLE = np.array([[0, 1, 65535], [300, 2, 40000]], np.uint16)


def tiff(values: np.ndarray, order: str = "<", rows: int | None = None, deflate: bool = False, **tags: int) -> bytes:
    """A TIFF of one channel in strips, written from the specification (TIFF 6.0). tags: t259=5 replaces a tag."""
    height, width = values.shape
    rows = rows or height
    kind = {"f": 3, "u": 1, "i": 2}[values.dtype.kind]
    raw = [values[at : at + rows].astype(values.dtype.newbyteorder(order)).tobytes() for at in range(0, height, rows)]
    strips = [zlib.compress(strip) for strip in raw] if deflate else raw
    fields = {256: width, 257: height, 258: 8 * values.dtype.itemsize, 259: 8 if deflate else 1, 262: 1, 277: 1,
              278: rows, 339: kind}  # fmt: skip
    fields |= {int(name[1:]): value for name, value in tags.items()}
    starts = np.cumsum([8, *map(len, strips)])
    lists = {273: starts[:-1].tolist(), 279: [len(strip) for strip in strips]}
    at = int(starts[-1])  # the directory, and behind it lists of more than one number
    beyond, entries = b"", []
    behind = at + 2 + 12 * (len(fields) + 2) + 4
    for tag in sorted({*fields, *lists}):
        numbers = lists.get(tag, [fields.get(tag)])
        if len(numbers) == 1:
            entries.append(struct.pack(f"{order}HHII", tag, 4, 1, numbers[0]))
        else:
            entries.append(struct.pack(f"{order}HHII", tag, 4, len(numbers), behind + len(beyond)))
            beyond += struct.pack(f"{order}{len(numbers)}I", *numbers)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", at)
    return head + b"".join(strips) + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4) + beyond


def save(path, values: np.ndarray):
    """The file, of the kind that its suffix says."""
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez_compressed(path, anything=values)
    elif path.suffix == ".safetensors":
        save_file({"anything": torch.from_numpy(values)}, path)
    else:
        Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors", "tif", "tiff"])
def test_floats_come_back_bit_for_bit(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", VALUES)
    found = read_map(path)
    assert found.values.dtype == np.float32
    assert found.values.tobytes() == VALUES.tobytes()
    assert (found.largest, found.sha256) == (30.0, hashlib.sha256(path.read_bytes()).hexdigest())
    assert found.kind == f"{'tiff' if suffix == 'tif' else suffix} float32"


@pytest.mark.parametrize("suffix", ["png", "tif", "npy", "npz"])
@pytest.mark.parametrize("values", [WHOLE, WHOLE.astype(np.uint8)], ids=["16", "8"])
def test_integers_stay_as_they_are(tmp_path, suffix, values):
    found = read_map(save(tmp_path / f"a.{suffix}", values))
    assert found.values.dtype == np.float32
    assert np.array_equal(found.values, values.astype(np.float32))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_of_safetensors(tmp_path, dtype):
    tensor = torch.from_numpy(VALUES).to(getattr(torch, dtype))
    save_file({"map": tensor}, tmp_path / "a.safetensors")
    assert np.array_equal(read_map(tmp_path / "a.safetensors").values, tensor.float().numpy())


@pytest.mark.parametrize("options", [{}, {"order": ">"}, {"rows": 1}, {"rows": 1, "deflate": True}], ids=str)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_tiffs_of_floating_point(tmp_path, dtype, options):
    """Pillow opens neither half nor double precision, and swaps single precision twice that is compressed and ">"."""
    values = VALUES.astype(dtype)
    (tmp_path / "a.tiff").write_bytes(tiff(values, **options))
    found = read_map(tmp_path / "a.tiff")
    assert np.array_equal(found.values, values.astype(np.float32))
    assert found.kind == f"tiff {np.dtype(dtype).name}"


def test_the_tiffs_of_these_tests_are_what_pillow_reads(tmp_path):
    """In the precision that it knows: so the writer above is right."""
    (tmp_path / "a.tiff").write_bytes(tiff(VALUES, rows=1, deflate=True))
    with Image.open(tmp_path / "a.tiff") as file:
        assert np.array_equal(np.asarray(file), VALUES)


def test_what_pillow_reads_right_is_left_to_it(tmp_path):
    Image.fromarray(VALUES).save(tmp_path / "a.tif", compression="tiff_lzw")
    assert np.array_equal(read_map(tmp_path / "a.tif").values, VALUES)
    (tmp_path / "b.tif").write_bytes(tiff(VALUES, ">", t259=5))
    with pytest.raises(UnreadableError, match="32-bit floating-point TIFF with compression 5"):
        read_map(tmp_path / "b.tif")


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (VALUES.astype(np.float64), np.float32),  # each of them is a float32 number
        (VALUES.astype(np.float64) + 1e-12, np.float64),
        (np.array([[1e300, -1.0]]), np.float64),
        (np.array([[2**24, -(2**24)]]), np.float32),
        (np.array([[2**24 + 1, 0]]), np.float64),
        (np.array([[2**31, 7]], np.uint32), np.float64),
        (np.array([[True, False]]), np.float32),
    ],
)
def test_nothing_is_lost_in_float32(tmp_path, values, kept):
    found = read_map(save(tmp_path / "a.npy", values)).values
    assert found.dtype == kept
    assert np.array_equal(found.astype(np.longdouble), values.astype(np.longdouble))


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 3, 1), (1, 1, 2, 3), (1, 2, 3, 1)])
def test_axes_of_one_entry_are_taken_off(tmp_path, shape):
    assert np.array_equal(read_map(save(tmp_path / "a.npy", VALUES.reshape(shape))).values, VALUES)
    assert read_map(save(tmp_path / "b.npy", np.ones((1, 1, 4), np.float32))).values.shape == (1, 4)


def hollow(**at: float) -> np.ndarray:
    values = VALUES.copy()
    values[1, 2] = at["value"]
    return values


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("a.npy", lambda p: save(p, hollow(value=np.nan)), "1 of its 6 values .*, the first at row 1, column 2"),
        ("a.tif", lambda p: save(p, hollow(value=np.inf)), "1 of its 6 values are nan or infinite"),
        ("a.png", lambda p: Image.new("RGB", (3, 2)).save(p), r"3 channels \(RGB\)"),
        ("a.png", lambda p: Image.new("P", (3, 2)).save(p), "a palette"),
        ("a.png", lambda p: p.write_bytes(save(p, WHOLE).read_bytes()[:-9]), "cut short"),
        ("a.png", lambda p: Image.new("L", (3, 2)).save(p, "JPEG"), "a lossy format"),
        ("a.npy", lambda p: p.write_bytes(save(p, VALUES).read_bytes()[:-9]), "cannot read map"),
        ("a.npy", lambda p: p.write_bytes(b""), "cannot read map"),
        ("a.npy", lambda p: np.save(p, np.array([{}]), allow_pickle=True), "Python objects are not loaded"),
        ("a.npz", lambda p: p.write_bytes(b"junk"), "Python objects are not loaded"),
        ("a.npz", lambda p: np.savez(p, map=VALUES, score=VALUES), r"2 arrays \(map, score\) and nothing says which"),
        ("a.npz", lambda p: np.savez(p), r"0 arrays \(none\)"),
        ("a.safetensors", lambda p: p.write_bytes(b"\0" * 20), "cannot read map"),
        ("a.safetensors", lambda p: save_file({"a": torch.ones(2), "b": torch.ones(2)}, p), "2 arrays"),
        ("a.npy", lambda p: save(p, np.ones((2, 3, 4))), r"of shape \(2, 3, 4\); expected one number per pixel"),
        ("a.npy", lambda p: save(p, np.ones(5)), "expected one number per pixel"),
        ("a.npy", lambda p: save(p, np.ones((0, 5))), "expected one number per pixel"),
        ("a.npy", lambda p: save(p, np.ones((2, 2), complex)), "an array of complex128"),
        ("a.npy", lambda p: save(p, np.array([["a"]])), "expected real numbers"),
        ("a.npy", lambda p: save(p, np.array([[2**60, 0]])), r"beyond 2\^53"),
        ("a.tiff", lambda p: p.write_bytes(tiff(VALUES.astype(np.float16), t317=2)), "a predictor, which is not read"),
        ("a.tiff", lambda p: p.write_bytes(tiff(VALUES.astype(np.float64), t259=5)), "compression 5"),
        ("a.tiff", lambda p: p.write_bytes(tiff(VALUES.astype(np.float16), t262=0)), "white as zero"),
        ("a.tiff", lambda p: p.write_bytes(tiff(WHOLE, t262=0)), "white is its zero"),
        ("a.tiff", lambda p: p.write_bytes(tiff(VALUES.astype(np.float16), t257=3, t278=3)), "is cut short: strip 0"),
        ("a.tiff", lambda p: p.write_bytes(b"II*\0abc"), "cannot read map"),
        ("a.txt", lambda p: p.write_text("1"), r"expected a file of \.npy"),
        ("a.npy", lambda p: None, "No such file"),
    ],
)  # fmt: skip
def test_what_is_no_map_is_refused_by_name(tmp_path, name, make, said):
    path = tmp_path / name
    make(path)
    with pytest.raises(UnreadableError, match=said) as caught:
        read_map(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_pages_are_not_one_map(tmp_path):
    page = Image.fromarray(VALUES)
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    with pytest.raises(UnreadableError, match="holds 2 pages"):
        read_map(tmp_path / "a.tif")


def test_a_folder_is_listed_with_what_is_no_map_apart(tmp_path):
    for name in ("b/2.NPY", "b/1.png", "a.tiff", "notes.txt", ".hidden/3.npy", ".x.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert listed(tmp_path) == (["a.tiff", "b/1.png", "b/2.NPY"], ["notes.txt"])
    with pytest.raises(UnreadableError, match="is not a folder of maps"):
        listed(tmp_path / "a.tiff")
