# pytest tests/data/datasets/test_br35h.py
"""Br35H: what lies beside its two folders is not read, and BrainMRI is not taken for it."""

from __future__ import annotations

import shutil

import pytest

from tests.data.miniatures import br35h as miniature
from tests.data.miniatures import brainmri as sister
from tests.data.miniatures.files import record, write_image, write_meta
from zsad_bench.data.datasets.br35h import Br35h
from zsad_bench.errors import DatasetError, DatasetLayoutError, UsageError


def test_capital_names_and_neighbours(tmp_path):
    miniature.write(tmp_path, "raw")
    read = [sample.image for sample in Br35h(tmp_path).samples()]
    assert read[0] == "no/No12.jpg", "a capital N is read, and comes first in byte order"
    assert {path.split("/")[0] for path in read} == {"no", "yes"}, "pred/ and Br35H-Mask-RCNN/ are not of the set"


def test_records_of_neighbours_are_counted_and_dropped(tmp_path):
    miniature.write(tmp_path, "meta_json")
    module = Br35h(tmp_path)
    assert len(module.samples()) == 6
    assert any(
        "meta.json: 5 records are not images, or of pred/ or Br35H-Mask-RCNN/" in note for note in module.notes
    ), module.notes


def test_record_that_leads_nowhere_is_named(tmp_path):
    miniature.write(tmp_path, "raw")
    lost = record("/home/someone/Br35H/yes/y77.jpg", "", "brain", "yes", 1)
    write_meta(tmp_path / "meta.json", {"test": {"brain": [lost]}})
    with pytest.raises(DatasetError, match=r"names /home/someone/Br35H/yes/y77\.jpg"):
        Br35h(tmp_path).samples()


def test_meta_json_and_raw_name_the_same_files(tmp_path):
    miniature.write(tmp_path, "meta_json")
    meta, raw = Br35h(tmp_path), Br35h(tmp_path, layout="raw")
    assert [(s.image, s.label) for s in meta.samples()] == [(s.image, s.label) for s in raw.samples()]
    assert any("read as meta_json; there is also raw" in note for note in meta.notes), meta.notes


def test_brainmri_is_refused(tmp_path):
    sister.write(tmp_path / "here", "raw")
    with pytest.raises(DatasetLayoutError, match=r"br35h: .*here is another dataset .* perhaps BrainMRI"):
        Br35h(tmp_path / "here").samples()
    sister.pair(tmp_path / "below" / "brain_tumor_dataset")
    with pytest.raises(DatasetLayoutError, match="perhaps BrainMRI"):
        Br35h(tmp_path / "below").samples()


def test_partial_copy_names_the_missing_folder(tmp_path):
    miniature.write(tmp_path, "raw")
    shutil.rmtree(tmp_path / "no")
    with pytest.raises(DatasetError, match="/no is missing, expected the normal images there"):
        Br35h(tmp_path).samples()


def test_counts_are_compared_with_the_published_ones(tmp_path):
    miniature.write(tmp_path, "raw")
    module = Br35h(tmp_path)
    module.samples()
    assert module.notes[0] == "br35h holds 3 normal and 3 anomalous test images, expected 1500 and 1500 (evidence V)"
    (left_out,) = module.notes[1:]
    assert "image files of no sample, left out" in left_out, "pred/ and the copies in Br35H-Mask-RCNN/"
    assert "pred/" in left_out


def test_there_is_one_variant(tmp_path):
    with pytest.raises(UsageError, match=r"unknown variant of br35h 'openset25'.* all"):
        Br35h(tmp_path, variant="openset25")


def test_a_folder_of_another_kind_lists_what_was_looked_for(tmp_path):
    write_image(tmp_path / "tumor/1.png")
    with pytest.raises(DatasetLayoutError, match=r"looked for .*yes/y0\.jpg.*found tumor/"):
        Br35h(tmp_path).samples()
