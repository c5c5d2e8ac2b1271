# pytest tests/data/test_contact_sheet.py
"""The contact sheet: which images, that outlines are seen on any image, that nothing is written over anything."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from zsad_bench.data.contact_sheet import _BRIGHT, _DARK, _FRAME, Cell, Row, _lines, cell, choose, sheet
from zsad_bench.errors import DatasetError, UsageError
from zsad_bench.types import Sample


def sample(number: int, label: int, category: str = "carpet", kind: str = "") -> Sample:
    return Sample(
        f"{category}/{kind}{number:03d}.png", (), label, category, kind or ("bad" if label else "good"), "test"
    )


def mask_of(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> Image.Image:
    pixels = np.zeros((size[1], size[0]), np.uint8)
    for left, top, right, bottom in boxes:
        pixels[top:bottom, left:right] = 255
    return Image.fromarray(pixels)


def count(picture: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(picture) == colour).all(axis=-1).sum())


# --- which images -----------------------------------------------------------------------------------------------------


def test_as_many_types_as_fit_and_normals_spread_over_the_table():
    kinds = ["cut"] * 9 + ["hole"] + ["thread"] * 2
    table = [sample(i, 0) for i in range(10)] + [sample(i, 1, kind=kind) for i, kind in enumerate(kinds)]
    normal, bad = choose(table, 4)["carpet"]
    assert [s.image[-7:-4] for s in normal] == ["000", "002", "005", "007"], "normal images come from all of the table"
    assert [s.anomaly_type for s in bad] == ["cut", "cut", "hole", "thread"], "every type before a second of one"
    assert choose(table, 4) == choose(table, 4)
    normal, bad = choose(table, 100)["carpet"]
    assert (len(normal), len(bad)) == (10, 12), "more were asked for than there are: all of them, once"


def test_categories_keep_their_order_and_may_lack_a_label():
    chosen = choose([sample(0, 1, "wood"), sample(0, 0, "carpet")], 2)
    assert list(chosen) == ["wood", "carpet"]
    assert [len(side) for side in (*chosen["wood"], *chosen["carpet"])] == [0, 1, 1, 0]


# --- an image ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(400, 400), (4096, 256), (256, 4096), (24, 16), (1, 1)])
def test_any_size_fits_and_keeps_its_aspect(size):
    picture = cell(Image.new("RGB", size), None, (), box=100).picture
    width, height = picture.width - 2 * _FRAME, picture.height - 2 * _FRAME
    assert max(width, height) == 100, f"{size} is shown as {width} x {height}"
    assert abs(width / height - size[0] / size[1]) <= 0.05 * size[0] / size[1], f"{size} became {width} x {height}"


@pytest.mark.parametrize("colour", ["white", "black", "#00e5ff", "red", "#808080"])
def test_the_outline_has_two_tones_on_any_image_and_leaves_the_region_itself_alone(colour):
    size = (300, 200)
    plain = np.asarray(cell(Image.new("RGB", size, colour), None, (), box=150).picture)
    outlined = np.asarray(cell(Image.new("RGB", size, colour), mask_of(size, (100, 60, 200, 140)), (), 150).picture)
    inside = slice(_FRAME + 30, _FRAME + 70), slice(_FRAME + 50, _FRAME + 100)
    assert np.array_equal(outlined[inside], plain[inside]), "the outline covers what it is there to show"
    around = outlined[_FRAME + 30 - 3 : _FRAME + 30, _FRAME + 75]  # above the region, from outside to inside
    assert around.tolist() == [list(_DARK), list(_BRIGHT), list(_BRIGHT)]


def test_one_pixel_of_six_million_is_outlined():
    size = (3000, 2000)
    picture = cell(Image.new("RGB", size, "white"), mask_of(size, (1507, 1003, 1508, 1004)), ()).picture
    assert count(picture, _BRIGHT) == 24, "a ring of two pixels around one"


def test_a_region_at_the_border_or_of_the_whole_image_is_outlined_all_around():
    whole = np.asarray(cell(Image.new("RGB", (50, 50), "red"), mask_of((50, 50), (0, 0, 50, 50)), (), 50).picture)
    for side in (whole[0], whole[-1], whole[:, 0], whole[:, -1]):
        assert (side == _DARK).all(), "the frame has no room for the outline"
    assert (whole[_FRAME:-_FRAME, _FRAME:-_FRAME] == (255, 0, 0)).all()


def test_an_empty_mask_draws_nothing():
    image = Image.new("RGB", (50, 50), "red")
    assert np.array_equal(cell(image, mask_of((50, 50)), ()).picture, cell(image, None, ()).picture)


# --- the sheet --------------------------------------------------------------------------------------------------------


def boxes_of_text(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float, float, float]]:
    """Where text is written while the test runs."""
    from PIL import ImageDraw

    seen, write = [], ImageDraw.ImageDraw.text

    def note(self, at, text, fill=None, font=None, **options):
        seen.append(self.textbbox(at, text, font))
        write(self, at, text, fill, font, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    return seen


def test_no_text_lies_over_text_or_images_or_outside(monkeypatch):
    placed, texts = [], boxes_of_text(monkeypatch)
    paste = Image.Image.paste

    def note(self, picture, at=None, mask=None):
        if isinstance(picture, Image.Image) and len(at) == 2 and self.width > 400:
            placed.append((*at, at[0] + picture.width, at[1] + picture.height))
        paste(self, picture, at, mask)

    monkeypatch.setattr(Image.Image, "paste", note)
    long = "wax melded out of the candle, foreign particals on candle, " * 3
    wide, high = Image.new("RGB", (400, 20)), Image.new("RGB", (20, 400))
    cells = [cell(picture, None, (long, "a_file_name_without_end" * 5), 80) for picture in (wide, high, wide)]
    rows = [Row("a category of " + long, cells[:1], cells), Row("x" * 200, [], cells[:2]), Row("none", cells, [])]
    page = sheet("title " * 50, "subtitle " * 80, rows, box=80)
    assert len(placed) == 9, "not every image is on the sheet"
    everything = texts + placed
    for i, one in enumerate(everything):
        inside = one[0] >= 0 and one[1] >= 0 and one[2] <= page.width and one[3] <= page.height
        assert inside, f"{one} lies outside {page.size}"
        for other in everything[i + 1 :]:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart, f"{one} and {other} lie over each other"


def test_a_column_without_images_has_no_heading(monkeypatch):
    texts = boxes_of_text(monkeypatch)
    one = Cell(Image.new("RGB", (86, 86)), ())
    sheet("", "", [Row("", [], [one])], box=80)
    alone = len(texts)
    sheet("", "", [Row("", [one], [one])], box=80)
    assert (alone, len(texts) - alone) == (1, 2)


def test_text_is_cut_off_after_three_lines_and_any_name_can_be_written():
    from PIL import ImageFont

    font = ImageFont.load_default(12)
    lines = _lines("one two three four five six seven eight nine ten", font, 60)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert all(font.getlength(line) <= 60 for line in lines), lines
    assert _lines("a\nb\udcff 日本", font, 600) == ["a b? 日本"], "a name that is not unicode, or has a line break"
    assert _lines("", font, 60) == []


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_the_same_file_twice_with_outlines(tmp_path, capsys):
    from tests.data.miniatures import btad
    from zsad_bench.commands.data_samples import Options, run

    btad.write(tmp_path, "mvtec_style")
    out = tmp_path / "new folder" / "sheet.png"
    options = Options(name="btad", root=str(tmp_path), out=str(out), per_category=2)
    run(options)
    with Image.open(out) as page:
        assert count(page.convert("RGB"), _BRIGHT) > 500, "no outline can be seen"
    first = out.read_bytes()
    run(options)
    assert out.read_bytes() == first
    assert [path.name for path in out.parent.iterdir()] == ["sheet.png"], "something unfinished was left behind"
    said = capsys.readouterr().out
    assert str(out) in said
    assert "not to be published" in said


def test_without_out_the_file_lies_in_the_cache(cache, tmp_path, capsys):
    from tests.data.miniatures import btad
    from zsad_bench.commands.data_samples import Options, run

    btad.write(tmp_path, "mvtec_style")
    run(Options(name="btad", root=str(tmp_path), out=None))
    assert (cache / "samples" / "btad.png").is_file()


def test_a_broken_image_is_named(tmp_path):
    from tests.data.miniatures import btad
    from zsad_bench.commands.data_samples import Options, run

    btad.write(tmp_path, "mvtec_style")
    for image in tmp_path.rglob("test/ko/*.png"):
        image.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"cannot read image .*02/test/ko/0000\.png"):
        run(Options(name="btad", root=str(tmp_path), out=str(tmp_path / "a.png"), per_category=1))
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("wrong", [{"per_category": 0}, {"per_category": 99}, {"out": "sheet.jpg"}])
def test_bad_options_are_told(wrong):
    from zsad_bench.commands.data_samples import Options, run

    with pytest.raises(UsageError, match="expected a"):
        run(Options(**{"name": "demo_objects", "out": None, "per_category": 3, **wrong}))


def test_crops_and_masks_of_a_strip_are_cut_together(tmp_path):
    """SDD: three samples per file; the outline belongs to the third that has the defect."""
    from tests.data.miniatures import sdd
    from zsad_bench import registry
    from zsad_bench.commands.data_samples import _cell

    sdd.write(tmp_path, "raw")
    data = registry.load("datasets", "sdd")(tmp_path)
    shown = {s.id: (s.label, count(_cell(data, s).picture, _BRIGHT)) for s in data.samples()}
    assert {label for label, _ in shown.values()} == {0, 1}
    for name, (label, bright) in shown.items():
        assert (bright > 0) == (label == 1), f"{name} with label {label} has {bright} pixels of outline"
