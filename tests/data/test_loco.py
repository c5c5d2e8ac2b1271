# pytest tests/data/test_loco.py
"""A plug-in whose download looks like another layout: as MVTec LOCO AD lies on disk, several masks an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.miniatures.files import SIZE, write_image, write_mask, write_meta
from zsad_bench import registry
from zsad_bench.errors import DatasetLayoutError

SOURCE = '''"""LOCO: logical and structural anomalies; a folder of masks for every anomalous image."""

from zsad_bench.data import files
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.public import PublicDataModule
from zsad_bench.types import Sample


class Loco(PublicDataModule):
    title = "LOCO"
    domain, level, licence, redistribute = "industrial", "both", "CC BY-NC-SA 4.0", False
    url = citation = how_to_get = "https://example.org/loco"
    category_cards = tuple(CategoryCard(n, n.replace("_", " "), "object") for n in ("breakfast_box", "pushpins"))
    variants = {"all": Expected(4, 8, "V")}
    layout_order = ("meta_json", "raw", "mvtec_style")
    raw_looks_like = "{category}/test/logical_anomalies/"

    @classmethod
    def is_raw(cls, root):
        return any((root / card.name / "test" / "logical_anomalies").is_dir() for card in cls.category_cards)

    def read_raw(self, root):
        return [sample for card in self.category_cards for sample in self._category(root, card.name)]

    def _category(self, root, category):
        for kind in files.folders(root / category / "test"):
            for name in files.images(root / category / "test" / kind):
                masks = root / category / "ground_truth" / kind / name.partition(".")[0]
                found = [] if kind == "good" else [files.relative(masks / mask, root) for mask in files.images(masks)]
                image = f"{category}/test/{kind}/{name}"
                yield Sample(image, tuple(found), int(kind != "good"), category, kind, "test")
'''


def write(root: Path) -> Path:
    """Two images per category and kind; of the anomalous ones the first has two masks, in its two halves."""
    for category in ("breakfast_box", "pushpins"):
        write_image(root / category / "train/good/000.png")
        for kind in ("good", "logical_anomalies", "structural_anomalies"):
            for number in (0, 1):
                write_image(root / category / "test" / kind / f"00{number}.png")
                for part in range(0 if kind == "good" else 2 - number):
                    place = root / category / "ground_truth" / kind / f"00{number}" / f"00{part}.png"
                    write_mask(place, box=(0, 0, SIZE[0] // 2, SIZE[1]) if part == 0 else (SIZE[0] // 2, 0, *SIZE))
    return root


@pytest.fixture
def loco(plug_in):
    plug_in("loco_zsad", {"anomalies.py": SOURCE}, datasets={"loco": "loco_zsad.anomalies"})
    return registry.load("datasets", "loco")


def test_its_own_reader_goes_first_and_its_masks_are_united(loco, tmp_path):
    module = loco(write(tmp_path), image_size=32, workers=0)
    assert (module.layout, module.found.also) == ("raw", ("mvtec_style",)), "it is not recognised as its download"
    assert module.manifest_hash == loco(tmp_path).manifest_hash
    several = {sample.id: len(sample.masks) for sample in module.samples() if sample.label}
    assert sorted(several.values()) == [1] * 4 + [2] * 4, several
    shares = [float(mask.float().mean()) for batch in module.test_dataloader() for mask in batch.masks]
    assert sorted(shares) == [0.0] * 4 + [0.5] * 4 + [1.0] * 4, "the masks of an image are not united"
    assert any("read as raw" in note and "layout=mvtec_style" in note for note in module.notes), module.notes


def test_another_order_is_another_reader(loco, tmp_path):
    """What the order is for: by default the shared reader takes such a folder."""

    class Usual(loco):
        name = "loco"
        layout_order = loco.__mro__[1].layout_order

    assert Usual(write(tmp_path)).layout == "mvtec_style"
    assert loco(tmp_path, layout="mvtec_style").layout == "mvtec_style", "a layout that is asked for wins"


def test_a_prepared_copy_can_still_go_before_it(loco, tmp_path):
    write_meta(write(tmp_path) / "meta.json", {"train": {}, "test": {}})
    assert loco(tmp_path).layout == "meta_json"


def test_an_order_without_a_layout_never_takes_it(loco, tmp_path):
    class Strict(loco):
        name = "loco"
        layout_order = ("raw",)

    (write(tmp_path) / "meta.json").write_text("{}")
    assert Strict(tmp_path).layout == "raw"
    for category in ("breakfast_box", "pushpins"):
        (tmp_path / category / "test/logical_anomalies").rename(tmp_path / category / "test/other")
    with pytest.raises(DatasetLayoutError, match=r"loco: .* matches none of its layouts"):
        _ = Strict(tmp_path).layout


def test_the_command_line_reads_it_under_its_name(loco, tmp_path, monkeypatch, capsys):
    from zsad_bench.cli import main

    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    write(tmp_path / "loco")
    monkeypatch.setattr("sys.argv", ["zsad-bench", "data", "check", "loco"])
    assert main() == 0, capsys.readouterr()
    said = capsys.readouterr().out
    assert "raw" in said
    monkeypatch.setattr("sys.argv", ["zsad-bench", "data", "list", "loco"])
    assert main() == 0
    said = capsys.readouterr().out
    assert said.index("meta_json: ") < said.index("raw: {category}") < said.index("mvtec_style: "), "not in its order"
