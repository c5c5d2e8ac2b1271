# pytest tests/data/datasets/test_visa.py
"""VisA: types from label cells, masks of class ids, the split file, and what is refused."""

from __future__ import annotations

import hashlib
import shutil

import pytest

from tests.data.miniatures import visa as miniature
from zsad_bench.data.datasets.visa import Visa
from zsad_bench.errors import DatasetError, DatasetLayoutError

SPLIT = "split_csv/1cls.csv"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("visa")
    miniature.write(folder, "raw")
    return folder


@pytest.fixture
def raw(written, tmp_path):
    """A copy of the download that a test may damage."""
    return shutil.copytree(written, tmp_path / "VisA")


def types_of(module, category: str) -> list[str]:
    return [s.anomaly_type for s in module.samples() if s.category == category and s.label]


def test_universe_of_types():
    """Golden: 78 pairs, 39 names, and the first six pairs by the sha256 of `type|0|pair`."""
    pairs = [f"{category}/{kind}" for category, kinds in Visa.anomaly_types.items() for kind in kinds]
    ranked = sorted(pairs, key=lambda pair: hashlib.sha256(f"type|0|{pair}".encode()).hexdigest())
    assert (len(set(pairs)), len({pair.partition("/")[2] for pair in pairs})) == (78, 39)
    assert ranked[:6] == [
        "macaroni1/small cracks", "fryum/similar colour spot", "macaroni1/different colour spot",
        "fryum/small scratches", "pipe_fryum/stuck together", "capsules/scratch",
    ]  # fmt: skip


def test_several_labels_are_several_types(raw):
    sample = next(s for s in Visa(raw).samples() if s.anomaly_type == "bubble,discolor,scratch")
    assert sample.types == ("bubble", "discolor", "scratch")


def test_label_cells_stay_as_they_are_and_strange_ones_are_noted(raw):
    path = raw / "pcb1/image_anno.csv"
    path.write_text(path.read_text().replace("bent", "Bent").replace('"melt,scratch"', '" Melt , sratch "'))
    module = Visa(raw)
    assert types_of(module, "pcb1") == ["Bent", "Melt , sratch"]
    noted = [note for note in module.notes if "does not list" in note]
    assert len(noted) == 1, module.notes
    assert noted[0].endswith("does not list: pcb1/sratch"), "case does not matter, spelling does"


@pytest.mark.parametrize("layout", ["raw", "meta_json"])
def test_missing_annotations_are_noted_and_leave_the_folders_name(tmp_path, layout):
    miniature.write(tmp_path, layout)
    (tmp_path / "cashew/image_anno.csv").unlink()
    path = tmp_path / "fryum/image_anno.csv"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "burnt" not in line))
    module = Visa(tmp_path)
    assert types_of(module, "cashew") == ["anomaly", "anomaly"]
    assert types_of(module, "fryum") == ["anomaly", "fryum stuck together"]
    noted = [note for note in module.notes if "image_anno.csv" in note]
    assert len(noted) == 1, module.notes
    assert "3 anomalous images" in noted[0], noted
    assert "cashew, fryum" in noted[0], noted


def test_reorganised_tree_has_one_type_and_no_complaint(tmp_path):
    miniature.write(tmp_path / "VisA_pytorch", "mvtec_style")
    module = Visa(tmp_path)
    assert {s.anomaly_type for s in module.samples()} == {"good", "bad"}
    assert module.root == (tmp_path / "VisA_pytorch/1cls").resolve()
    assert not [note for note in module.notes if "image_anno" in note], module.notes


def test_both_trees_in_one_folder(raw):
    """The reorganised one is taken, the note says so, and the other can be selected."""
    miniature.write(raw, "mvtec_style")
    module, forced = Visa(raw), Visa(raw, layout="raw")
    assert (module.layout, module.root) == ("mvtec_style", raw.resolve() / "1cls")
    assert any("visa.layout=raw" in note for note in module.notes), module.notes
    assert {s.anomaly_type for s in forced.samples()} > {"bent", "good"}
    assert forced.manifest_hash != module.manifest_hash


def test_lowest_class_id_is_anomalous(raw):
    for rule in ("canonical", "legacy"):
        sample = next(s for s in Visa(raw).samples() if s.anomaly_type == "bent" and s.category == "pcb1")
        module = Visa(raw, samples=[sample], image_size=24, workers=0, mask_rule=rule)
        mask = next(iter(module.test_dataloader())).masks
        assert float(mask.float().mean()) == pytest.approx(6 * 8 / (24 * 16), abs=0.03), (
            f"class id 1 under the {rule} rule"
        )


def test_train_split_is_that_of_the_file(raw):
    module = Visa(raw, split="train")
    assert [s.image[-8:] for s in module.samples() if s.category == "cashew"] == ["/000.JPG"]
    assert {s.label for s in module.samples()} == {0}


@pytest.mark.parametrize("path", [SPLIT, "pcb4/image_anno.csv"])
def test_copies_saved_by_a_spreadsheet_are_refused(raw, path):
    file = raw / path
    file.write_text(file.read_text().replace(",", ";"))
    with pytest.raises(DatasetError, match=r"line 1 is separated by ';', as spreadsheets save it") as error:
        Visa(raw).samples()
    assert str(file) in str(error.value)


def test_a_byte_order_mark_is_no_column(raw):
    expected = Visa(raw).samples()
    file = raw / SPLIT
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert Visa(raw).samples() == expected


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("object,split", "category,split", "line 1 is 'category,split"),
        ("candle,test,anomaly,", "candle,validation,anomaly,", "validation"),
        ("candle,test,anomaly,", "candle,test,defect,", "defect"),
        ("candle,test,anomaly,candle", "candle,test,anomaly,../candle", "below the root"),
        ("candle,test,anomaly,candle", "candle,test,anomaly,/candle", "below the root"),
        ("candle,test,anomaly,", "candle,test,", "expected object,split,label,image,mask"),
        ("candle,test,anomaly,", "lamp,test,anomaly,", "lamp,test"),
    ],
)
def test_a_damaged_split_file_is_refused_in_one_line(raw, old, new, says):
    file = raw / SPLIT
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(DatasetError) as error:
        Visa(raw).samples()
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_split_file_that_is_no_text_is_refused(raw):
    (raw / SPLIT).write_bytes(b"PK\x03\x04\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"1cls\.csv"):
        Visa(raw).samples()


def test_without_the_split_file_it_says_where_that_comes_from(raw):
    shutil.rmtree(raw / "split_csv")
    with pytest.raises(DatasetLayoutError, match=r"expected .*split_csv/1cls\.csv, found .*copy that file from https"):
        Visa(raw).samples()


def test_partial_copy_names_what_is_missing(raw):
    (raw / "capsules/Data/Masks/Anomaly/001.png").unlink()
    with pytest.raises(DatasetError, match=r"capsules/Data/Masks/Anomaly/001\.png missing"):
        Visa(raw).samples()
    for gone in ("fryum", "pcb3"):
        shutil.rmtree(raw / gone)
    with pytest.raises(DatasetError, match="no folders fryum, pcb3"):
        Visa(raw).samples()


def test_two_class_splits_are_refused(tmp_path):
    miniature.write(tmp_path, "mvtec_style")
    for category in miniature.LABELS:
        masks = tmp_path / "1cls" / category / "ground_truth"
        (masks / "test").mkdir()
        (masks / "bad").rename(masks / "test/bad")
    with pytest.raises(DatasetLayoutError, match="two-class split of VisA"):
        Visa(tmp_path / "1cls").samples()
