# pytest tests/inspection/test_inspect.py
"""Photos are scored as a whole, in tiles, and within a region; what cannot be read does not stop the others."""

import numpy as np
import pytest
from PIL import Image

from tests.inspection.conftest import Brightness
from zsad_bench.data.images import category_of
from zsad_bench.errors import UsageError
from zsad_bench.inspection.inspect import Inspected, Setting, inspect
from zsad_bench.inspection.photos import find
from zsad_bench.inspection.reading import THUMBNAIL, Unread
from zsad_bench.inspection.region import Region
from zsad_bench.inspection.tiles import Tiling

BOLT = category_of("bolt", "object", "industrial")


def all_of(folder, scorer, batch_size=4, **setting):
    found = inspect(find([str(folder)]).photos, scorer, Setting(BOLT, **setting), batch_size, workers=0)
    return {item.photo.name: item for item in found}


def test_a_photo_as_a_whole(save, brightness, tmp_path):
    save("a.png", np.full((40, 50), 51))
    (item,) = all_of(tmp_path / "photos", brightness).values()
    assert item.score == pytest.approx(0.2)
    assert (item.width, item.height, item.views) == (50, 40, 1)
    assert item.map.shape == (32, 32)
    np.testing.assert_allclose(item.map, 0.2, rtol=1e-6)


def test_a_defect_across_the_border_of_tiles_is_not_cut(save, brightness, tmp_path):
    """Tiles of the scorer's size are not resized, so the map has to be the photo's own brightness, pixel by pixel."""
    photo = np.full((64, 96), 20)
    starts = sorted({box.left for box in Tiling(32, 0.25).boxes(96, 64)})
    border = starts[1]  # where the second tile begins
    photo[20:30, border - 8 : border + 8] = 240
    save("a.png", photo)
    (item,) = all_of(tmp_path / "photos", brightness, tiling=Tiling(32, 0.25)).values()
    assert item.views == len(Tiling(32, 0.25).boxes(96, 64))
    np.testing.assert_allclose(item.map, photo / 255, rtol=1e-5)
    assert item.score == pytest.approx(240 / 255)


def test_without_tiles_a_small_defect_on_a_large_photo_fades(save, brightness, tmp_path):
    photo = np.zeros((640, 640))
    photo[100:103, 100:103] = 255
    save("a.png", photo)
    (whole,) = all_of(tmp_path / "photos", brightness).values()
    (cut,) = all_of(tmp_path / "photos", brightness, tiling=Tiling(32)).values()
    assert cut.score == 1
    assert whole.score < 0.2


def test_within_a_region_only_its_pixels_count(save, brightness, tmp_path):
    photo = np.full((64, 64), 50)
    photo[:32, :32] = 200
    save("a.png", photo)
    save("b.png", np.kron(photo, np.ones((2, 2))))
    mask = np.zeros((64, 64), np.uint8)
    mask[40:, 40:] = 255
    found = all_of(tmp_path / "photos", brightness, region=Region(Image.fromarray(mask)))
    assert [item.score for item in found.values()] == pytest.approx([50 / 255] * 2, rel=1e-3)
    assert [item.scaled for item in found.values()] == [False, True]


def test_a_photo_of_another_shape_than_the_region_is_named(save, brightness, tmp_path):
    save("a.png", np.zeros((64, 64)))
    save("b.png", np.zeros((64, 80)))
    region = Region(Image.fromarray(np.full((64, 64), 255, np.uint8)))
    found = all_of(tmp_path / "photos", brightness, region=region)
    assert isinstance(found["a.png"], Inspected)
    assert "b.png is 80 x 64" in found["b.png"].reason


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(save, brightness, tmp_path):
    for name in "abcdefg":
        save(f"{name}.png", np.full((8, 8), 100))
    whole = (tmp_path / "photos" / "a.png").read_bytes()
    (tmp_path / "photos" / "c.png").write_bytes(whole[: len(whole) // 2])
    found = all_of(tmp_path / "photos", brightness)
    assert isinstance(found["c.png"], Unread)
    assert "c.png" in found["c.png"].reason
    assert [name for name, item in found.items() if isinstance(item, Inspected)] == [f"{n}.png" for n in "abdefg"]


def test_batches_hold_what_was_asked_for(save, tmp_path):
    for name in "abcde":
        save(f"{name}.png", np.full((64, 64), 100))
    scorer = Brightness()
    all_of(tmp_path / "photos", scorer, batch_size=2)
    assert scorer.sizes == [2, 2, 1]
    scorer = Brightness()
    all_of(tmp_path / "photos", scorer, batch_size=3, tiling=Tiling(32, 0))  # four tiles per photo
    assert sum(scorer.sizes) == 20
    assert max(scorer.sizes) == 3


def test_a_thumbnail_is_small_and_keeps_the_shape(save, brightness, tmp_path):
    save("a.png", np.zeros((300, 1536)))
    (item,) = all_of(tmp_path / "photos", brightness).values()
    assert item.thumbnail.shape == (150, THUMBNAIL, 3)


@pytest.mark.parametrize(
    "setting", [{"tiling": Tiling(32)}, {"region": Region(Image.fromarray(np.full((64, 64), 255, np.uint8)))}]
)
def test_tiles_and_regions_need_maps(save, tmp_path, setting):
    save("a.png", np.zeros((64, 64)))
    with pytest.raises(UsageError, match="gives no maps"):
        all_of(tmp_path / "photos", Brightness(maps=False), **setting)


def test_settings_are_told_apart():
    mask = np.full((8, 8), 255, np.uint8)
    other = mask.copy()
    other[0] = 0
    settings = [
        Setting(BOLT),
        Setting(category_of("nut", "object", "industrial")),
        Setting(BOLT, Tiling(64)),
        Setting(BOLT, Tiling(64, 0.5)),
        Setting(BOLT, region=Region(Image.fromarray(mask))),
        Setting(BOLT, region=Region(Image.fromarray(other))),
    ]
    described = [str(setting.described()) for setting in settings]
    assert len(set(described)) == len(described)
