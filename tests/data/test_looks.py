# pytest tests/data/test_looks.py
"""Signatures: what people do to images leaves them alike, and images that have nothing in common differ."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from scipy.fft import dctn

from zsad_bench.data import looks
from zsad_bench.data.looks import as_array, look, match, signature


def photograph(seed: int, size: tuple[int, int] = (200, 150)) -> Image.Image:
    """Soft shapes of many sizes with some noise, as photographs have."""
    rng = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3))
    for cells in (3, 6, 12, 24, 48):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), float) / cells
    total += rng.normal(0, 2, total.shape)
    return Image.fromarray(np.uint8(255 * (total - total.min()) / np.ptp(total)))


def texture(seed: int) -> Image.Image:
    """Grain without any large shape."""
    grain = np.random.default_rng(seed).integers(0, 256, (160, 160), dtype=np.uint8)
    return Image.fromarray(grain).filter(ImageFilter.GaussianBlur(1)).convert("RGB")


def grid(seed: int) -> Image.Image:
    """A grating: two waves and nothing else."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:160, :160] / 160
    a, b = rng.uniform(3, 6, 2)
    wave = np.sin(2 * np.pi * (a * x + b * y + rng.uniform())) + np.sin(2 * np.pi * (b * x - a * y + rng.uniform()))
    return Image.fromarray(np.uint8(128 + 50 * wave)).convert("RGB")


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def resized(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


CHANGES = {
    "none": lambda image: image,
    "jpeg 95": lambda image: jpeg(image, 95),
    "jpeg 75": lambda image: jpeg(image, 75),
    "jpeg 50": lambda image: jpeg(image, 50),
    "half": lambda image: resized(image, 0.5),
    "three quarters": lambda image: resized(image, 0.75),
    "double": lambda image: resized(image, 2),
    "square": lambda image: image.resize((128, 128)),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "half and jpeg": lambda image: jpeg(resized(image, 0.5), 75),
}
ORIGINALS = [photograph(seed) for seed in range(12)]
KNOWN = as_array([signature(image) for image in ORIGINALS])


def matched(image: Image.Image, known=KNOWN):
    return match(as_array([signature(image)]), known)


def test_a_signature_is_the_formula_written_out():
    image = photograph(3)
    small = np.asarray(image.convert("L").convert("F").resize((64, 64), Image.Resampling.BICUBIC), float)
    waves = dctn(small, norm="ortho")[:16, :16]
    waves[0, 0] = 0
    rooted = np.sign(waves) * np.sqrt(np.abs(waves))
    expected = np.rint(127 * rooted / np.abs(rooted).max())
    found = np.frombuffer(signature(image), np.int8).reshape(16, 16)
    assert np.abs(found - expected).max() <= 1, "beyond rounding"
    assert np.abs(found).max() == 127


def test_pixels_and_size_are_hashed():
    image = photograph(1)
    assert look(image).pixels == hashlib.sha256(b"200x150|" + image.tobytes()).hexdigest()[:32]
    tall, wide = (Image.new("RGB", size, (9, 9, 9)) for size in ((2, 8), (8, 2)))
    assert look(tall).pixels != look(wide).pixels, "the same bytes in another shape are another image"
    assert (look(tall).width, look(tall).height) == (2, 8)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 11), st.sampled_from(sorted(CHANGES)), st.integers(0, 7))
def test_copies_are_found(number, change, turn):
    """Whatever was done to it, in any of the eight positions."""
    image = CHANGES[change](ORIGINALS[number])
    image = image.transpose(Image.Transpose.TRANSPOSE) if turn & 1 else image
    image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if turn & 2 else image
    image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if turn & 4 else image
    found = matched(image)
    assert found.copies[0], f"{change}, turned {turn}: similarity {found.similarity[0]:.3f}"
    assert found.closest[0] == number


@pytest.mark.parametrize(("draw", "most"), [(photograph, 0), (texture, 0), (grid, 0.03)])
def test_images_with_nothing_in_common_are_told_apart(draw, most):
    """Of gratings, two of 3,600 pairs may have nearly the same two waves."""
    known = as_array([signature(draw(seed)) for seed in range(60)])
    found = match(as_array([signature(draw(seed)) for seed in range(100, 160)]), known)
    assert found.copies.mean() <= most, f"similarity {found.similarity[found.copies]}"


@pytest.mark.parametrize("quality", [95, 75, 50])
def test_textures_are_found_though_jpeg_damages_their_few_low_waves(quality):
    images = [texture(seed) for seed in range(20)]
    found = match(as_array([signature(jpeg(i, quality)) for i in images]), as_array([signature(i) for i in images]))
    assert found.copies.all(), f"similarity {found.similarity}"
    assert (found.closest == np.arange(20)).all()


def test_where_everything_looks_alike_only_the_same_is_a_copy():
    """Photographs of one scene, each with a small thing of its own, and copies of them."""
    scene = np.asarray(photograph(7, (160, 160)))
    rng = np.random.default_rng(0)
    images = []
    for _ in range(20):
        one = scene.copy()
        y, x = rng.integers(0, 130, 2)
        one[y : y + 25, x : x + 25] = rng.integers(0, 256, 3)
        images.append(Image.fromarray(one))
    known = as_array([signature(image) for image in images])
    copies = match(as_array([signature(jpeg(image, 90)) for image in images]), known)
    assert copies.copies.all()
    others = [match(known[at : at + 1], np.delete(known, at, 0)).copies[0] for at in range(20)]
    assert not any(others), "another thing in the same scene is another photograph"


@pytest.mark.parametrize("value", [0, 128, 255])
def test_one_colour_is_no_evidence(value):
    flat = Image.new("RGB", (80, 60), (value,) * 3)
    speck = flat.copy()
    speck.putpixel((3, 3), (value ^ 1,) * 3)
    assert signature(flat) is None
    assert signature(speck) is None
    assert not match(as_array([None, None]), as_array([None, *[signature(i) for i in ORIGINALS]])).copies.any()


def test_faint_images_are_compared_all_the_same():
    """16-bit cameras and fabrics: a few grey levels are all there is."""
    faint = [Image.fromarray(np.uint8(100 + np.asarray(image) // 40)) for image in ORIGINALS]
    found = match(as_array([signature(resized(image, 0.5)) for image in faint]), as_array(list(map(signature, faint))))
    assert found.copies.all()
    assert (found.closest == np.arange(12)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 2), (3000, 40), (2500, 2100)])
def test_any_size(size):
    seen = look(ORIGINALS[2].resize(size, Image.Resampling.BILINEAR))
    assert (seen.width, seen.height) == size
    assert seen.signature is None or len(seen.signature) == 256


def test_one_other_image_is_enough_and_blocks_change_nothing(monkeypatch):
    assert matched(jpeg(ORIGINALS[4], 90), KNOWN[4:5]).copies[0]
    assert not matched(ORIGINALS[3], KNOWN[4:5]).copies[0]
    whole = match(KNOWN, KNOWN[::-1])
    monkeypatch.setattr(looks, "_BLOCK", 5)
    parts = match(KNOWN, KNOWN[::-1])
    assert (whole.closest == np.arange(12)[::-1]).all()
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(whole, parts, strict=True))


def test_solar_cells_that_look_alike():
    from zsad_bench import registry
    from zsad_bench.data import decode

    module = registry.load("datasets", "elpv")
    if module.packaged() is None:
        pytest.skip("elpv-dataset is not installed")
    data = module(module.packaged())
    chosen = data.samples()[::40]
    images = [decode.read_image(data.root / sample.image).image for sample in chosen]
    known = as_array([signature(image) for image in images])
    for change in ("jpeg 75", "half", "double", "square"):
        found = match(as_array([signature(CHANGES[change](image)) for image in images]), known)
        assert (found.copies & (found.closest == np.arange(len(images)))).mean() >= 0.95, change
    alone = [match(known[at : at + 1], np.delete(known, at, 0)).copies[0] for at in range(len(images))]
    assert sum(alone) <= 2, f"{sum(alone)} of {len(images)} cells pass for copies of others"
