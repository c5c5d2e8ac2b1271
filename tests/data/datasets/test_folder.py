# pytest tests/data/datasets/test_folder.py
"""Folders of a user's own: the accepted forms, what the card says of them, and what is refused and how."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.miniatures.files import write_image, write_junk, write_mask
from zsad_bench.data.datasets.folder import Folder
from zsad_bench.data.user_data import readable
from zsad_bench.errors import DatasetError, DatasetLayoutError, UsageError


def build(root: Path, **options) -> Folder:
    return Folder(root, image_size=16, workers=0, **options)


def write(root: Path, *images: str) -> Path:
    for image in images:
        write_image(root / image)
    return root


def table(module: Folder) -> list[tuple[str, tuple[str, ...], int, str, str]]:
    return [(s.image, s.masks, s.label, s.category, s.anomaly_type) for s in module.samples()]


def test_mvtec_style_with_several_categories(tmp_path):
    root = write(tmp_path / "line_3", "nut/test/good/0.png", "nut/test/bent/1.PNG", "nut/train/good/9.png")
    write(root, "bolt_m6/test/ok/0.png", "bolt_m6/test/rust/1.png", "notes/sketch.png")
    write_mask(root / "nut/ground_truth/bent/1_mask.png")
    write_mask(root / "bolt_m6/masks/rust/1.png")
    module = build(root)
    assert table(module) == [
        ("bolt_m6/test/ok/0.png", (), 0, "bolt_m6", "good"),
        ("bolt_m6/test/rust/1.png", ("bolt_m6/masks/rust/1.png",), 1, "bolt_m6", "rust"),
        ("nut/test/bent/1.PNG", ("nut/ground_truth/bent/1_mask.png",), 1, "nut", "bent"),
        ("nut/test/good/0.png", (), 0, "nut", "good"),
    ]
    assert (module.title, module.level, module.expected[:2]) == (f"{tmp_path.name}/line_3", "both", (2, 2))
    assert [c.prompt_name for c in module.categories()] == ["bolt m 6", "nut"]
    assert any("left out, as no category: notes" in note for note in module.notes), module.notes
    assert next(iter(module.test_dataloader())).masks.flatten(1).any(1).tolist() == [False, True, True, False]
    assert [s.image for s in build(root, split="train").samples()] == ["nut/train/good/9.png"]


@pytest.mark.parametrize("normal", ["good", "ok", "normal", "Normal", "OK"])
@pytest.mark.parametrize("test", ["test/", "Test/", ""])
def test_the_folder_itself_is_the_category(tmp_path, normal, test):
    root = write(tmp_path / "metal_nut", f"{test}{normal}/a b.JPG", f"{test}defect/c,d.tiff")
    write_junk(root / normal)
    module = build(root)
    assert sorted(table(module), key=lambda row: row[2]) == [
        (f"{test}{normal}/a b.JPG", (), 0, "metal_nut", "good"),
        (f"{test}defect/c,d.tiff", (), 1, "metal_nut", "defect"),
    ], f"{test}{normal} was read as {table(module)}"
    assert (module.level, module.has_masks, module.title) == ("image", False, f"{tmp_path.name}/metal_nut")
    assert [c.prompt_name for c in module.categories()] == ["metal nut"]
    assert next(iter(module.test_dataloader())).masks is None


def test_categories_without_test_folders(tmp_path):
    root = write(tmp_path, "a/normal/0.png", "a/hole/0.png", "b/normal/0.png", "b/cut/0.png", "masks/x/0.png")
    write_mask(root / "a/ground_truth/hole/0.png")
    write_mask(root / "b/mask/cut/0_mask.png")
    module = build(root)
    assert [s.masks for s in module.samples() if s.label] == [
        ("a/ground_truth/hole/0.png",),
        ("b/mask/cut/0_mask.png",),
    ]
    assert [c.name for c in module.categories()] == ["a", "b"]
    assert any("taken as anomalous is what lies in cut, hole" in note for note in module.notes), module.notes


def test_masks_for_some_only(tmp_path):
    root = write(tmp_path, "good/0.png", "bad/1.png", "bad/2.png", "bad/3.png")
    write_mask(root / "ground_truth/bad/1.png")
    with pytest.raises(DatasetError, match=r"bad/2\.png has no mask, nor have 1 others of the 3") as error:
        build(root)
    assert "\n" not in str(error.value)
    module = build(root, allow_missing_masks=True)
    assert (module.level, module.decisions()) == ("both", {"allow_missing_masks": "true"})
    (batch,) = module.test_dataloader()
    assert batch.masks.flatten(1).any(1).tolist() == [True, False, False, False], "bad/1, bad/2, bad/3, good/0"


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (["1.png", "2.jpg"], "2 images without labels: 1.png, 2.jpg"),
        (["good/1.png"], "only normal images"),
        (["a/test/bad/1.png"], "only anomalous images"),
        (["defect/1.png", "scratch/1.png"], "defect/, scratch/"),
        ([], "found nothing"),
    ],
)
def test_what_cannot_be_tested_on_says_what_is_needed(tmp_path, images, found):
    with pytest.raises(DatasetLayoutError, match="it needs normal images in good/ and anomalous ones in") as error:
        build(write(tmp_path, *images))
    assert found in str(error.value)
    assert "\n" not in str(error.value)


def test_an_archive_beside_nothing_is_named(tmp_path):
    (tmp_path / "images.zip").write_bytes(b"PK")
    with pytest.raises(DatasetLayoutError, match=r"unpack images\.zip first"):
        build(tmp_path)


def test_a_category_with_one_label_is_said(tmp_path):
    module = build(write(tmp_path, "a/test/good/0.png", "a/test/bad/0.png", "b/test/good/0.png"))
    assert any("b: no anomalous images" in note for note in module.notes), module.notes


def test_masks_paired_by_number_are_said(tmp_path):
    root = write(tmp_path, "good/0.png", "bad/x1.png", "bad/x2.png")
    write_mask(root / "masks/bad/m1.png")
    write_mask(root / "masks/bad/m2.png")
    module = build(root)
    assert any("paired by the numbers in their names" in note for note in module.notes), module.notes


def test_wrong_roots(tmp_path):
    with pytest.raises(UsageError, match="as in folder:/path/to/images"):
        Folder()
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        build(tmp_path / "nowhere")
    (tmp_path / "table.csv").write_text("image,label\n")
    with pytest.raises(DatasetError, match=r"table\.csv is a file; give a folder, or a table as csv:"):
        build(tmp_path / "table.csv")
    assert Folder.available() is None


def test_links_that_loop_end(tmp_path):
    root = write(tmp_path, "good/0.png", "bad/0.png")
    (root / "again").symlink_to(root, target_is_directory=True)
    assert len(build(root).samples()) == 2


def test_options_reach_the_prompts_and_the_hash(tmp_path):
    root = write(tmp_path / "2024", "good/0.png", "bad/0.png")
    plain = build(root)
    assert plain.categories()[0].prompt_name == "object"
    assert any("'2024' is not a name to prompt with" in note for note in plain.notes), plain.notes
    named = build(root, prompt_name="knee", kind="organ", domain="medical")
    (category,) = named.categories()
    assert (category.prompt_name, category.kind, category.domain) == ("knee", "organ", "medical")
    assert len({plain.manifest_hash, named.manifest_hash, build(root, prompt_name="hip").manifest_hash}) == 3
    with pytest.raises(UsageError, match="unknown kind of folder 'organs'; did you mean organ"):
        build(root, kind="organs")
    with pytest.raises(UsageError, match="prompt_name is empty"):
        build(root, prompt_name=" ")


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("metal_nut", "metal nut"),
        ("pcb1", "pcb 1"),
        ("01-weld__seam", "01 weld seam"),
        ("größe2b", "größe 2 b"),
        ("007", ""),
        ("__", ""),
    ],
)
def test_readable(name, prompt):
    assert readable(name) == prompt


NAME = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), min_size=1, max_size=20
).filter(lambda name: not name.startswith(".") and name.lower() not in ("thumbs.db", "desktop.ini", "__macosx"))


@settings(max_examples=25, deadline=None)
@given(st.lists(NAME, unique=True, min_size=1, max_size=4), st.sampled_from([".png", ".PNG", ".JPG", ".Bmp"]))
def test_any_name_is_read_with_its_own_mask(names, suffix):
    with tempfile.TemporaryDirectory() as folder:
        root = write(Path(folder) / "x", "good/0.png", *(f"bad/{name}{suffix}" for name in names))
        for name in names:
            write_mask(root / f"ground_truth/bad/{name}_mask.png")
        found = {s.image: s.masks for s in build(root).samples() if s.label}
        assert found == {f"bad/{name}{suffix}": (f"ground_truth/bad/{name}_mask.png",) for name in names}


# --- masks: where they may lie, and how they are called ---------------------------------------------------------------


@pytest.mark.parametrize("folder", ["Masks", "MASK", "Ground_Truth", "ground truth", "GT", "labels"])
@pytest.mark.parametrize("kind", ["Crack/", "crack/", ""])
@pytest.mark.parametrize("form", ["{top}", "{top}test/", "nut/{top}test/"])
def test_folders_of_masks_in_any_case(tmp_path, folder, kind, form):
    top = form.format(top="")
    root = write(tmp_path, f"{top}good/0.png", f"{top}crack/0.png", f"{top}crack/1.png")
    place = tmp_path / top.removesuffix("test/") / folder / kind
    for number in (0, 1):
        write_mask(place / f"{number}.png")
    module = build(root)
    assert (module.level, len([s for s in module.samples() if s.masks])) == ("both", 2)


@pytest.mark.parametrize("place", ["test/masks/crack", "test/crack/masks", "test/crack/GT", "masks"])
def test_masks_in_the_folders_of_types(tmp_path, place):
    root = write(tmp_path, "test/good/0.png", "test/crack/0.png")
    write_mask(root / place / "0.png")
    assert [s.masks for s in build(root).samples()] == [(f"{place}/0.png",), ()]


def test_folders_of_images_and_masks_in_each_type(tmp_path):
    root = write(tmp_path, "good/images/0.png", "crack/images/0.png", "crack/images/1.png")
    write_mask(root / "crack/masks/0.png")
    write_mask(root / "crack/masks/1_mask.png")
    assert [s.masks for s in build(root).samples() if s.label] == [("crack/masks/0.png",), ("crack/masks/1_mask.png",)]


def test_a_folder_of_masks_for_each_image(tmp_path):
    """MVTec LOCO: masks of one image in a folder called as the image."""
    root = write(tmp_path, "test/good/000.png", "test/logical_anomalies/000.png", "test/logical_anomalies/001.png")
    for path, box in (("000/000", (0, 0, 4, 4)), ("000/001", (8, 8, 12, 12)), ("001/000", (0, 0, 8, 8))):
        write_mask(root / f"ground_truth/logical_anomalies/{path}.png", box=box)
    module = Folder(root, image_size=24, workers=0)
    assert [len(s.masks) for s in module.samples()] == [0, 2, 1]
    (batch,) = module.test_dataloader()
    assert [bool(m[2, 2]) for m in batch.masks] == [False, True, True]
    assert [bool(m[15, 10]) for m in batch.masks] == [False, True, False], "the second mask is united with the first"


def test_masks_beside_the_images_are_masks(tmp_path):
    root = write(tmp_path, "good/0.png", "crack/0.png", "crack/1.png", "crack/front_mask.png")
    write_mask(root / "crack/0_mask.png")
    write_mask(root / "crack/1_mask.png")
    write_mask(root / "crack/front_mask_label.png")
    write_mask(root / "good/0_label.bmp", box=None)
    module = build(root)
    assert [(s.image, s.masks) for s in module.samples()] == [
        ("crack/0.png", ("crack/0_mask.png",)),
        ("crack/1.png", ("crack/1_mask.png",)),
        ("crack/front_mask.png", ("crack/front_mask_label.png",)),
        ("good/0.png", ()),
    ]
    assert any("3 files are called as masks of the images beside them" in note for note in module.notes), module.notes


@pytest.mark.parametrize("place", ["masks/crack", "gt", "ground_truth/Crack"])
def test_masks_of_other_names_are_said(tmp_path, place):
    root = write(tmp_path, "good/0.png", "crack/a.png")
    write_mask(root / place / "z.png")
    module = build(root)
    assert module.level == "image"
    assert any("named as an anomalous image" in note and "z.png" in note for note in module.notes), module.notes


def test_images_of_one_stem_are_said(tmp_path):
    root = write(tmp_path, "good/0.png", "crack/1.png", "crack/1.jpg")
    module = build(root)
    assert any("1 stems have several images (1.jpg and 1.png)" in note for note in module.notes), module.notes
    write_mask(root / "masks/crack/1.tif")
    with pytest.raises(DatasetError, match=r"masks: crack/1\.tif could be the mask of"):
        build(root)


# --- forms ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("normal", "anomalous"), [("no", "yes"), ("No", "Yes"), ("negative", "positive"), ("OK", "NG")]
)
def test_names_of_normal_images(tmp_path, normal, anomalous):
    module = build(write(tmp_path, f"{normal}/0.png", f"{anomalous}/0.png"))
    assert {s.image: s.label for s in module.samples()} == {f"{normal}/0.png": 0, f"{anomalous}/0.png": 1}


def test_no_is_normal_only_beside_yes(tmp_path):
    module = build(write(tmp_path, "good/0.png", "no/0.png"))
    assert {s.image: s.label for s in module.samples()} == {"good/0.png": 0, "no/0.png": 1}


@pytest.mark.parametrize(("images", "masks"), [("Images", "Masks"), ("images", "GroundTruth"), ("img", "labels")])
@pytest.mark.parametrize("top", ["", "test/", "nut/", "nut/test/"])
def test_images_beside_masks(tmp_path, images, masks, top):
    root = tmp_path / "parts"
    write(root, *(f"{top}{images}/{number}.png" for number in range(3)))
    write_mask(root / top / masks / "0_mask.png")
    write_mask(root / top / masks / "1_mask.png", box=None)
    module = build(root)
    assert [(s.label, len(s.masks)) for s in module.samples()] == [(1, 1), (0, 0), (0, 0)]
    assert (module.level, module.categories()[0].name) == ("both", "nut" if "nut" in top else "parts")
    assert any("1 images whose masks mark a pixel" in note and "2 as normal (1 of" in note for note in module.notes)


def test_images_all_with_marked_masks_are_of_pixel_level(tmp_path):
    root = write(tmp_path, "images/0.png", "images/1.png")
    for number in (0, 1):
        write_mask(root / f"masks/{number}.png")
    module = build(root)
    assert module.level == "pixel"
    assert any("image metrics of" in note for note in module.notes), module.notes


def test_deeper_folders_are_of_their_type(tmp_path):
    root = write(tmp_path, "good/0.png", "good/cam2/0.png", "crack/0.png", "crack/cam1/0.png", "hole/cam1/a/0.png")
    write_mask(root / "masks/crack/cam1/0.png")
    for path in ("crack/0", "hole/cam1/a/0"):
        write_mask(root / f"masks/{path}.png")
    module = build(root)
    assert [(s.image, s.masks, s.anomaly_type) for s in module.samples()] == [
        ("crack/0.png", ("masks/crack/0.png",), "crack"),
        ("crack/cam1/0.png", ("masks/crack/cam1/0.png",), "crack"),
        ("good/0.png", (), "good"),
        ("good/cam2/0.png", (), "good"),
        ("hole/cam1/a/0.png", ("masks/hole/cam1/a/0.png",), "hole"),
    ]


@pytest.mark.parametrize("suffix", [".webp", ".jfif", ".GIF", ".ppm", ".jp2", ".tga", ".pgm", ".jpe"])
def test_whatever_pillow_reads(tmp_path, suffix):
    root = write(tmp_path, "good/0.png", "crack/0.png")
    write_image(root / f"crack/1{suffix}", format="JPEG" if "j" in suffix and suffix != ".jp2" else None)
    assert len(build(root).samples()) == 3


@pytest.mark.parametrize("test", ["", "test/"])
def test_masks_beside_the_categories(tmp_path, test):
    root = write(tmp_path, *(f"{name}/{test}{kind}/0.png" for name in ("nut", "bolt") for kind in ("good", "bad")))
    write_mask(root / "Ground_Truth/nut/bad/0.png")
    write_mask(root / "Ground_Truth/Bolt/0_mask.png")
    assert [s.masks for s in build(root).samples() if s.label] == [
        ("Ground_Truth/Bolt/0_mask.png",),
        ("Ground_Truth/nut/bad/0.png",),
    ]


def test_an_empty_mask_file_is_named_where_its_image_lacks_one(tmp_path):
    root = write(tmp_path, "good/0.png", "bad/1.png", "bad/2.png")
    write_mask(root / "masks/bad/1.png")
    (root / "masks/bad/2.png").touch()
    with pytest.raises(DatasetError, match=r"bad/2\.png has no mask, .*1 image files are empty .*as masks/bad/2\.png"):
        build(root)
