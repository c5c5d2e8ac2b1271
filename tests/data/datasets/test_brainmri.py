# pytest tests/data/datasets/test_brainmri.py
"""BrainMRI: the pair that is in the zip twice, variants, partial copies, and the sister set with the same folders."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.data.miniatures import br35h as sister
from tests.data.miniatures import brainmri as miniature
from tests.data.miniatures.files import write_image
from zsad_bench import registry
from zsad_bench.data.datasets.brainmri import Brainmri
from zsad_bench.errors import DatasetError, DatasetLayoutError, UsageError


def counts(module) -> tuple[int, int]:
    labels = [sample.label for sample in module.samples()]
    return labels.count(0), labels.count(1)


@pytest.mark.parametrize("depth", ["", "brain_tumor_dataset", "archive/brain_tumor_dataset"])
def test_hash_does_not_depend_on_which_copy_is_read(depth, tmp_path, monkeypatch):
    miniature.write(tmp_path / "zip", "raw")
    whole = Brainmri(tmp_path / "zip")
    shutil.copytree(whole.root / "yes", tmp_path / "one" / depth / "yes")
    shutil.copytree(whole.root / "no", tmp_path / "one" / depth / "no")
    one = Brainmri(tmp_path / "one")
    assert counts(whole) == counts(one) == (4, 3), "the two copies in the zip are one data set"
    assert one.manifest_hash == whole.manifest_hash, "the same images in another folder are the same data"


def test_suffixes_and_modes_of_the_files_are_of_no_matter(tmp_path):
    miniature.write(tmp_path, "raw")
    with Image.open(tmp_path / "yes/Y2.jpg") as image:
        assert (image.format, image.mode) == ("PNG", "RGBA"), "the miniature lost its quirk"
        plain = np.asarray(image)[..., :3]
    Image.fromarray(plain).save(tmp_path / "yes/Y3.png")
    module = Brainmri(tmp_path, image_size=16, workers=0)
    images = {s.id: i for b in module.test_dataloader() for s, i in zip(b.samples, b.images, strict=True)}
    kept, dropped = images["brainmri/yes/Y3.png"], images["brainmri/yes/Y2.jpg"]
    assert (kept == dropped).all(), "alpha is dropped, as the published code does, not blended"


def test_openset25_draws_a_quarter_of_the_sorted_normals(tmp_path):
    for number in range(100):
        write_image(tmp_path / "no" / f"no {number:03d}.jpg", (4, 4))
    write_image(tmp_path / "yes/Y1.jpg", (4, 4))
    module = Brainmri(tmp_path, variant="openset25")
    drawn = [s.image for s in module.index(module.root) if s.label == 0]
    # First of numpy's RandomState(42).permutation(100).
    assert drawn[:5] == [f"no/no {n:03d}.jpg" for n in (83, 53, 70, 45, 44)]
    assert counts(module) == (25, 1)
    assert "expected 25 and 155 (evidence S)" in module.notes[0]


def test_openset25_needs_the_raw_images(tmp_path):
    miniature.write(tmp_path, "meta_json")
    with pytest.raises(UsageError, match="variant openset25 is made from the raw layout, found meta_json"):
        Brainmri(tmp_path, variant="openset25").samples()
    assert counts(Brainmri(tmp_path, variant="openset25", layout="raw")) == (1, 3)


@pytest.mark.parametrize("missing", ["yes", "no"])
def test_partial_copy_names_the_missing_folder(missing, tmp_path):
    miniature.write(tmp_path, "raw")
    shutil.rmtree(tmp_path / missing)
    with pytest.raises(DatasetError, match=rf"/{missing} is missing, expected the \w+ images there; .* restore"):
        Brainmri(tmp_path).samples()


def test_empty_folder_and_empty_file_are_named(tmp_path):
    miniature.write(tmp_path, "raw")
    (tmp_path / "yes/Y1.jpg").write_bytes(b"")
    module = Brainmri(tmp_path)
    assert counts(module) == (4, 2)
    assert any("1 empty image files (0 bytes), left out" in note and "Y1.jpg" in note for note in module.notes)
    for file in (tmp_path / "no").iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match="/no has no image directly inside"):
        Brainmri(tmp_path).samples()


def test_br35h_is_refused(tmp_path):
    sister.write(tmp_path / "here", "raw")
    with pytest.raises(DatasetLayoutError, match=r"brainmri: .*here is Br35H, another dataset"):
        Brainmri(tmp_path / "here").samples()


def test_packed_archive_is_named(tmp_path):
    (tmp_path / "archive.zip").write_bytes(b"PK")
    with pytest.raises(DatasetLayoutError, match=r"looked for .*yes/ and no/.*unpack archive\.zip first"):
        Brainmri(tmp_path).samples()


def test_shared_images_are_stated_on_both_sides():
    for name in ("brainmri", "br35h"):
        for other in registry.load("datasets", name).shares_images_with:
            assert name in registry.load("datasets", other).shares_images_with, f"{other} does not name {name}"
    assert Brainmri.shares_images_with == ("br35h",)


@pytest.mark.parametrize("folder", ["brain_tumor_dataset", "BrainMRI", "BrainMRI_anomaly_detection", "brainmri"])
def test_found_under_zsad_data(folder, tmp_path, monkeypatch):
    miniature.pair(tmp_path / folder)
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    assert Brainmri().root == tmp_path.resolve() / folder
    assert counts(Brainmri()) == (4, 3)
