# pytest tests/data/test_subset.py
"""Variants that circulate: those that test the images of a list, and those known only from prepared copies."""

from __future__ import annotations

import pytest

from tests.data.miniatures import brainmri, dagm, mvtec
from zsad_bench.data.datasets.brainmri import Brainmri
from zsad_bench.data.datasets.dagm import Dagm
from zsad_bench.data.datasets.mvtec import Mvtec
from zsad_bench.errors import DatasetError, UsageError

GOOD, BAD = "bottle/test/good/000.png", "bottle/test/broken_large/000.png"


@pytest.fixture
def listed(tmp_path):
    """listed(*lines, **options): MVTecAD with the variant that tests what a list of these lines names."""
    mvtec.write(tmp_path / "mvtec", "mvtec_style")

    def build(*lines: str, **options):
        (tmp_path / "zs.txt").write_text("\n".join(lines))
        return Mvtec(tmp_path / "mvtec", variant="zs", images=tmp_path / "zs.txt", **options)

    return build


def test_the_listed_images_are_tested_and_the_hash_knows_it(listed):
    module = listed("# labels that hold without a reference", GOOD, "", f" ./{BAD} ")
    assert [sample.image for sample in module.samples()] == [BAD, GOOD]
    assert module.shortfall == "", "how many images such a list has, nobody published"
    assert any("2 of 88 test images are tested" in note for note in module.notes), module.notes
    assert any("tests no images of " in note and "cable" in note for note in module.notes), module.notes
    assert listed(BAD, GOOD).manifest_hash == module.manifest_hash, "not by the order of lines"
    assert listed(GOOD).decisions() != module.decisions()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([GOOD, "bottle/test/good/999.png"], r"line 2 names bottle/test/good/999\.png, no test image.*--partial"),
        ([GOOD, BAD, GOOD], r"line 3 is bottle/test/good/000\.png, as line 1 is"),
        (["# nothing"], "lists no image"),
        (["bottle/train/good/000.png"], r"line 1 names bottle/train/good/000\.png, no test image"),
    ],
)
def test_lists_that_are_refused(listed, lines, says):
    with pytest.raises(DatasetError, match=says) as error:
        listed(*lines).samples()
    assert "\n" not in str(error.value)


def test_a_listed_image_that_is_missing_may_be_left_out(listed):
    module = listed(GOOD, BAD, "bottle/test/good/999.png", partial=True)
    assert len(module.samples()) == 2
    assert any(note.startswith("partial:") and "999.png" in note for note in module.notes), module.notes


def test_a_list_and_its_variant_go_together(listed, tmp_path):
    listed(GOOD)
    for options in ({"variant": "zs"}, {"images": tmp_path / "zs.txt"}):
        with pytest.raises(UsageError, match=r"--data mvtec\.images=FILE .* goes with zs"):
            Mvtec(tmp_path / "mvtec", **options)
    with pytest.raises(DatasetError, match="cannot read the list"):
        Mvtec(tmp_path / "mvtec", variant="zs", images=tmp_path / "none.txt").samples()


def test_what_only_a_prepared_copy_holds(tmp_path):
    brainmri.write(tmp_path / "raw", "raw")
    with pytest.raises(UsageError, match=r"prepared85 is known only from a prepared copy .*found the download"):
        Brainmri(tmp_path / "raw", variant="prepared85").samples()
    expected = brainmri.write(tmp_path / "copy", "mvtec_style")
    module = Brainmri(tmp_path / "copy", variant="prepared85")
    assert (len(module.samples()), module.expected[:2]) == (len(expected), (85, 68))
    dagm.write(tmp_path / "dagm", "mvtec_style")
    for number in (8, 9, 10):
        (tmp_path / f"dagm/Class{number}").rename(tmp_path / f"Class{number}")
    module = Dagm(tmp_path / "dagm", variant="prepared1350")
    assert [category.name for category in module.categories()] == [f"Class{number}" for number in range(1, 8)]
    assert any("tests no images of Class8, Class9, Class10" in note for note in module.notes), module.notes
    with pytest.raises(DatasetError, match="no test images of Class8, Class9, Class10"):
        Dagm(tmp_path / "dagm").samples()
