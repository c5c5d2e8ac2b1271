# pytest tests/data/test_bad_input.py
"""What people really have on disk: each bad case is one line that names the file, each strange one is read."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

from tests.data import miniatures
from tests.data.miniatures.files import record, write_image, write_mask, write_meta
from zsad_bench import registry
from zsad_bench.errors import DatasetError, DatasetLayoutError


def build(name, root, **options):
    return registry.load("datasets", name)(root, image_size=16, workers=0, **options)


def refusal(name, root, error=DatasetError):
    with pytest.raises(error) as caught:
        build(name, root).samples()
    line = str(caught.value)
    assert "\n" not in line, f"more than one line: {line}"
    return line


@pytest.fixture
def colon(tmp_path):
    """A prepared copy of ColonDB with a meta.json of one image, and how to write another one."""
    write_image(tmp_path / "here/colon/test/polyp/1.png")
    write_mask(tmp_path / "here/colon/ground_truth/polyp/1.png")

    def write(image="colon/test/polyp/1.png", mask="colon/ground_truth/polyp/1.png"):
        return write_meta(
            tmp_path / "here/meta.json", {"test": {"colon": [record(image, mask, "colon", "", 1)]}}
        ).parent

    return write


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "visa").write_text("")
    assert "visa is not a folder" in refusal("visa", tmp_path / "visa")


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    line = refusal("visa", tmp_path, DatasetLayoutError)
    assert "meta.json" in line
    assert "found nothing" in line


@pytest.mark.parametrize("archive", ["x.zip", "x.tar", "x.tar.xz", "X.7Z", "x.rar"])
def test_an_archive_that_is_still_packed(archive, tmp_path):
    (tmp_path / archive).write_bytes(b"")
    assert f"unpack {archive} first" in refusal("mvtec", tmp_path, DatasetLayoutError)


@pytest.mark.parametrize("name", ["visa", "colondb", "brainmri"])
def test_raw_and_prepared_copy_side_by_side(name, tmp_path):
    """The order of detection decides, and a note says how to take the other."""
    miniatures.load(name).write(tmp_path, "raw")
    miniatures.load(name).write(tmp_path, "meta_json")
    module = build(name, tmp_path)
    assert module.layout == "meta_json"
    assert any(f"--data {name}.layout=" in note for note in module.notes), module.notes
    assert build(name, tmp_path, layout="raw").layout == "raw"


# --- meta.json --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"[1]", b"\xff\xfe\x00", b'{"test": []}', b'{"test": {"colon": 3}}', b"[" * 100_000]
)
def test_a_meta_json_that_is_none(colon, content):
    root = colon()
    (root / "meta.json").write_bytes(content)
    line = refusal("colondb", root)
    assert str(root / "meta.json") in line
    assert "write it again" in line or "records with" in line


@pytest.mark.parametrize(
    "change", [{"img_path": None}, {"img_path": 3}, {"anomaly": 2}, {"anomaly": "1"}, {"mask_path": 1}]
)
def test_a_record_of_another_form(colon, change):
    root = colon()
    content = json.loads((root / "meta.json").read_text())
    content["test"]["colon"][0] |= change
    (root / "meta.json").write_text(json.dumps(content))
    assert "img_path, mask_path and anomaly 0 or 1" in refusal("colondb", root)


@pytest.mark.parametrize("prefix", ["/home/author/data/", "../data/", "C:\\data\\", "./", "a/../../b/"])
def test_paths_of_the_authors_machine_lead_below_the_root(colon, prefix):
    root = colon(f"{prefix}colon/test/polyp/1.png", f"{prefix}colon/ground_truth/polyp/1.png")
    (sample,) = build("colondb", root).samples()
    assert sample.image == "colon/test/polyp/1.png"
    assert sample.masks == ("colon/ground_truth/polyp/1.png",)


@pytest.mark.parametrize("path", ["../outside.png", "{parent}/outside.png", "colon/../../outside.png"])
def test_nothing_outside_the_root_is_read(colon, tmp_path, path):
    write_image(tmp_path / "outside.png")
    root = colon(path.format(parent=tmp_path))
    assert "no end of that path is a file below" in refusal("colondb", root)


def test_an_unknown_category_lists_the_known(colon):
    root = colon()
    (root / "meta.json").write_text((root / "meta.json").read_text().replace('{"colon"', '{"liver"'))
    assert "category 'liver'; known: " in refusal("colondb", root)


# --- names, links, permissions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stem",
    ["1 no", "a,b", 'quo"te', "Größe ∅ 漢", "percent%20", "a.b.c", "-rf", "[1]", "{stem}", "new\nline", "x" * 200],
)
@pytest.mark.parametrize("suffix", [".PNG", ".JpG"])
def test_strange_names_are_read_with_their_own_mask(stem, suffix, tmp_path):
    write_image(tmp_path / f"images/{stem}{suffix}", format="PNG")
    write_image(tmp_path / "images/other.png")
    write_mask(tmp_path / f"masks/{stem}.png", box=(0, 0, 24, 16))
    write_mask(tmp_path / "masks/other.png", box=(0, 0, 2, 2))
    module = build("colondb", tmp_path)
    whole = {s.image: s.masks for s in module.samples()}[f"images/{stem}{suffix}"]
    assert whole == (f"masks/{stem}.png",)
    assert [b.masks[i].all().item() for b in module.test_dataloader() for i in range(len(b))].count(True) == 1
    assert len(module.manifest_hash) == 64


def test_a_name_that_is_no_unicode(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    try:
        write_image(tmp_path / f"images/{name}.png")
    except OSError:
        pytest.skip("this file system takes unicode alone")
    write_mask(tmp_path / f"masks/{name}.png")
    line = refusal("colondb", tmp_path)
    assert r"images/caf\xe9.png" in line
    assert "is not UTF-8" in line


def test_loops_of_links_end(tmp_path):
    miniatures.load("brainmri").write(tmp_path / "here", "raw")
    expected = build("brainmri", tmp_path / "here").samples()
    (tmp_path / "here/loop").symlink_to(tmp_path / "here", target_is_directory=True)
    (tmp_path / "here/itself").symlink_to(tmp_path / "here/itself")
    assert build("brainmri", tmp_path / "here").samples() == expected


def test_a_link_to_nothing_is_named(tmp_path):
    write_image(tmp_path / "images/1.png")
    write_mask(tmp_path / "masks/1.png")
    (tmp_path / "images/2.png").symlink_to(tmp_path / "gone.png")
    line = refusal("colondb", tmp_path)
    assert "images/2.png is a link to nothing" in line


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("folder", ["", "images", "masks"])
def test_no_permission_names_the_folder(folder, tmp_path):
    write_image(tmp_path / "here/images/1.png")
    write_mask(tmp_path / "here/masks/1.png")
    closed = tmp_path / "here" / folder
    closed.chmod(0)
    try:
        assert str(closed) in refusal("colondb", tmp_path / "here")
    finally:
        closed.chmod(0o700)


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_60_megapixel_image_is_read(tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((6000, 10000), np.uint8)).save(tmp_path / "images/1.png")
    write_mask(tmp_path / "masks/1.png", size=(10000, 6000), box=(0, 0, 5000, 6000))
    (batch,) = build("colondb", tmp_path).test_dataloader()
    assert batch.masks.float().mean() == 0.5, "left half"


def test_an_image_that_would_fill_memory_is_refused(tmp_path, monkeypatch):
    write_image(tmp_path / "images/1.png")
    write_mask(tmp_path / "masks/1.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # pillow refuses from twice as many on
    with pytest.raises(DatasetError, match=r"1\.png.*decompression bomb"):
        list(build("colondb", tmp_path).test_dataloader())
