# pytest tests/data/test_geometry.py
"""Image and mask in one geometry, wherever they are looked at: in a run, in a check, from headers, in crops."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from zsad_bench.data import check as checks
from zsad_bench.data import crops, decode, loaders, mask_sizes, readable
from zsad_bench.data.datasets.folder import Folder
from zsad_bench.data.transforms import GeometryError, open_masks
from zsad_bench.errors import DatasetError

SHOWN = np.random.default_rng(0).integers(0, 256, (40, 24, 3), np.uint8)  # upright: 24 wide, 40 high
MARKED = np.zeros((40, 24), np.uint8)
MARKED[2:12, 3:9] = 255


def save(path, array, orientation=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(array)).save(path, exif=exif)
    return path


@pytest.fixture
def folder(tmp_path):
    """folder(mask, its orientation): a dataset whose anomalous image is stored on its side, and shown upright."""

    def build(mask, orientation=1):
        save(tmp_path / "parts/good/a.png", SHOWN[::-1])
        save(tmp_path / "parts/bad/b.png", np.rot90(SHOWN), 6)
        save(tmp_path / "parts/masks/bad/b.png", mask, orientation)
        return Folder(tmp_path / "parts", image_size=40, workers=0)

    return build


@pytest.mark.parametrize(("mask", "orientation"), [(MARKED, 1), (np.rot90(MARKED), 6)])
def test_a_mask_as_shown_fits_and_so_does_one_that_is_turned_alike(folder, mask, orientation):
    module = folder(mask, orientation)
    assert mask_sizes.check(module) == []
    report = checks.check(module)
    assert report.findings == ()
    assert report.sizes == {"24x40": 2}, "sizes are of what is seen"
    assert any("1 image carries an EXIF orientation and is turned upright" in note for note in report.notes)
    loader = module.test_dataloader()
    (batch,) = loader
    expected = np.asarray(Image.fromarray(MARKED).resize((40, 40), Image.Resampling.BILINEAR)) > 127
    assert (batch.masks[0].numpy() == expected).all()
    assert set(loader.said) <= set(report.notes)
    assert loader.said


@pytest.mark.parametrize("scale", [1, 2])
def test_a_mask_as_stored_is_refused_everywhere_in_the_same_words(folder, scale):
    module = folder(np.kron(np.rot90(MARKED), np.ones((scale, scale), np.uint8)))
    (finding,) = checks.check(module).findings
    assert finding.kind == "mask_size"
    assert f"{40 * scale} x {24 * scale}" in finding.message
    assert "24 x 40" in finding.message
    for look in (lambda: list(module.test_dataloader()), lambda: mask_sizes.check(module)):
        with pytest.raises(GeometryError) as error:
            look()
        assert str(error.value) == finding.message


def test_other_sizes_stay_what_they_were(folder, monkeypatch):
    """Half as large in the same shape, or of no shape at all: resized and counted, as for images that do not turn."""
    monkeypatch.setattr(loaders, "MOST_RESIZED", 1.0)
    for mask in (MARKED[::2, ::2], MARKED[:17]):
        module = folder(mask)
        assert len(mask_sizes.check(module)) == 1
        loader = module.test_dataloader()
        list(loader)
        assert len(loader.resized) == 1


def test_without_the_stored_size_nothing_is_known_of_a_turn(tmp_path):
    mask = save(tmp_path / "m.png", np.rot90(MARKED))
    assert open_masks([mask], 0, (24, 40)).resized == {mask: (40, 24)}
    with pytest.raises(GeometryError):
        open_masks([mask], 0, (24, 40), (40, 24))


def test_crops_lie_in_the_upright_image(tmp_path):
    image, mask = save(tmp_path / "i.png", np.rot90(SHOWN), 6), save(tmp_path / "m.png", MARKED)
    size = crops.size_of(image)
    assert size == (24, 40)
    assert crops.marked(image, size, [mask], [(0, 0, 24, 20), (0, 20, 24, 40)]) == [True, False]
    stored = save(tmp_path / "s.png", np.rot90(MARKED))
    with pytest.raises(GeometryError):
        crops.marked(image, size, [stored], [(0, 0, 24, 20)])


def test_headers_of_masks_of_several_pages_are_read(tmp_path):
    first = Image.fromarray(MARKED)
    first.save(tmp_path / "m.tif", save_all=True, append_images=[first])
    assert decode.size_of(tmp_path / "m.tif", is_mask=True) == (24, 40)
    with pytest.raises(decode.UnreadableError, match="2 pages"):
        decode.size_of(tmp_path / "m.tif")


@pytest.mark.parametrize("victim", ["bad/b.png", "masks/bad/b.png"])
def test_damage_is_seen_before_anything_is_learned(folder, victim):
    module = folder(MARKED)
    path = module.root / victim
    whole = path.read_bytes()
    path.write_bytes(whole[:-40].ljust(len(whole), b"\0"))
    bad = readable.unreadable(module, module.samples())
    assert [victim in line for line in bad.values()] == [True]
    (finding,) = checks.check(module).findings
    assert finding.message == next(iter(bad.values()))
    with pytest.raises(DatasetError) as error:
        list(module.test_dataloader())
    assert str(error.value) == finding.message


def test_the_cache_says_what_decoding_said(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path / "cache"))
    module = folder(MARKED)
    module.cache_images = True
    said, passes = [], []
    for _ in range(2):
        loader = module.test_dataloader()
        (batch,) = loader
        said.append(loader.said)
        passes.append(batch)
    assert said[0] == said[1]
    assert said[0]
    assert (passes[0].images == passes[1].images).all()
    monkeypatch.setattr("zsad_bench.data.decode.read_image", lambda path: pytest.fail(f"{path} is decoded again"))
    list(module.test_dataloader())


def test_another_rule_reads_the_files_anew(folder, tmp_path, monkeypatch):
    from zsad_bench.data import image_cache

    cache = image_cache.ImageCache(tmp_path / "cache")
    path = folder(MARKED).root / "good/a.png"
    before = cache.place([path], None, 40, 0)
    monkeypatch.setattr(image_cache, "PIXEL_RULE", image_cache.PIXEL_RULE + 1)
    assert cache.place([path], None, 40, 0) != before


def test_a_uniform_image_is_a_finding_and_a_note_in_the_same_words(tmp_path):
    save(tmp_path / "parts/good/a.png", np.full((8, 8), 3, np.uint16) * 20)  # 8-bit values stored in 16 bits
    save(tmp_path / "parts/bad/b.png", SHOWN)
    save(tmp_path / "parts/masks/bad/b.png", MARKED)
    module = Folder(tmp_path / "parts", image_size=40, workers=0)
    report, loader = checks.check(module), module.test_dataloader()
    list(loader)
    (finding,) = report.findings
    (line,) = (line for line in loader.said if "one colour" in line)
    assert finding.kind == "uniform"
    for said in (finding.message, line):
        assert "of one colour everywhere" in said
        assert str(module.root / "good/a.png") in said


def test_images_that_are_no_files_of_pixels_say_so_without_a_name_of_an_object(tmp_path):
    (tmp_path / "x.png").write_bytes(io.BytesIO(b"not an image").getvalue())
    with pytest.raises(decode.UnreadableError) as error:
        decode.read_image(tmp_path / "x.png")
    assert "object at" not in str(error.value)
