# pytest tests/data/test_synthetic.py
"""Generated anomalies: exact masks on images of any size and look, the same bits each time, other ones in each draw."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import product

import numpy as np
import pytest
from PIL import Image

from tests.data import miniatures
from tests.data.miniatures.files import write_image
from zsad_bench import registry
from zsad_bench.data import overlap
from zsad_bench.data.synthetic import KINDS, RULE, Painter, Parameters, Scene, counted
from zsad_bench.errors import DatasetError, OverlapError
from zsad_bench.types import Sample

SIZES = [(1, 1), (1, 9), (7, 5), (64, 96), (150, 40), (233, 610)]  # height, width


def picture(look: str, height: int, width: int) -> np.ndarray:
    """An image of integers alone, so that it is the same everywhere."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.RandomState(7).randint(0, 40, (height, width, 3))
    if look == "texture":
        image = 90 + 30 * ((x // 5 + y // 7) % 3)[..., None] + noise
    elif look == "grey":
        image = np.repeat((60 + (x * 3 + y * 5) % 97)[..., None] + noise[..., :1], 3, axis=2)
    elif look == "thing":  # a speckled disk on a plain ground
        disk = (2 * y - height) ** 2 + (2 * x - width) ** 2 <= (min(height, width) * 6 // 10) ** 2
        image = np.where(disk[..., None], 60 + 3 * noise, 230)
    else:
        image = np.full((height, width, 3), {"black": 0, "plain": 128, "white": 255}[look])
    return image.astype(np.uint8)


@pytest.mark.parametrize("look", ["texture", "grey", "thing", "black", "plain", "white"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_changes_in_its_mask_and_nowhere_else(kind, look):
    least, unchanged = Parameters().least_change, Parameters().unchanged
    for (height, width), draw in product(SIZES, range(3)):
        image = picture(look, height, width)
        before = image.copy()
        found, mask = Painter(draw)(image, kind, f"{look}/{height}.png")
        where = f"{kind} on {look} of {height} x {width}, draw {draw}"
        assert (image == before).all(), f"{where}: the normal image was written to"
        assert (found.shape, found.dtype, mask.shape, mask.dtype) == (image.shape, np.uint8, (height, width), np.uint8)
        assert set(np.unique(mask)) <= {0, 255}
        inside = mask > 0
        assert inside.any(), f"{where}: nothing is marked"
        assert inside.sum() <= max(1, 0.16 * inside.size), f"{where}: {inside.mean():.0%} of the image are marked"
        change = np.abs(found.astype(int) - image).max(2)
        assert not change[~inside].any(), f"{where}: {np.count_nonzero(change[~inside])} pixels changed outside"
        assert change[inside].mean() >= min(least, 16), f"{where}: changes by {change[inside].mean():.1f} levels"
        assert (change[inside] >= unchanged).mean() > 0.3, f"{where}: most of what is marked is as it was"
        if look in ("grey", "black", "plain", "white"):
            assert (found.max(2) == found.min(2)).all(), f"{where}: colours in a grey image"


def test_defects_lie_on_what_stands_before_a_plain_ground():
    for draw, kind in product(range(6), KINDS):
        image = picture("thing", 160, 160)
        thing = Scene(image, Parameters()).things_in((slice(0, 160), slice(0, 160)))
        assert 0.2 < thing.mean() < 0.35, "a disk of 60 % of the side has 28 % of the area"
        _, mask = Painter(draw)(image, kind, "a.png")
        assert (thing & (mask > 0)).any()
        if kind.startswith("noise"):
            assert not (mask > 0)[~thing].any(), f"{kind}: on the ground"
    assert Scene(picture("texture", 160, 160), Parameters()).thing.all(), "a texture has no ground"


def test_another_draw_or_image_has_another_defect_and_the_same_one_the_same_bits():
    image = picture("texture", 96, 96)
    for kind in KINDS:
        drawn = [Painter(draw)(image, kind, key) for draw, key in product(range(3), "ab")]
        assert len({mask.tobytes() for _, mask in drawn}) == 6
        again = Painter(2)(image, kind, "b")
        assert all((one == other).all() for one, other in zip(again, drawn[-1], strict=True))


def test_pixels_are_those_of_this_rule_on_every_machine():
    """Whoever changes what is generated raises RULE, or rows of two kinds of images would have one hash."""
    digest = hashlib.sha256()
    for kind, look in product(KINDS, ("texture", "grey", "thing")):
        for part in Painter(1)(picture(look, 120, 90), kind, f"{look}.png"):
            digest.update(part.tobytes())
    assert {RULE: digest.hexdigest()[:16]} == {1: "40761c780bf3e8c0"}


def test_counted_counts():
    marked = np.random.RandomState(0).random_sample((9, 6)) < 0.4
    for reach in (1, 3):
        slow = [[marked[max(0, i - reach) : i + reach + 1, max(0, j - reach) : j + reach + 1].sum() for j in range(6)]
                for i in range(9)]  # fmt: skip
        assert (counted(marked, reach) == slow).all()


def test_every_normal_image_stays_and_carries_one_defect_and_kinds_take_turns():
    normals = [Sample(f"{c}/good/{i}.png", (), 0, c, "good", "train") for c in "ab" for i in range(8)]
    table = Painter(0).table(normals)
    assert [sample for sample in table if not sample.label] == sorted(normals, key=table.index)
    defects = [sample for sample in table if sample.label]
    assert {(sample.image, sample.category) for sample in defects} == {(s.image, s.category) for s in normals}
    turns = Counter((sample.category, sample.anomaly_type) for sample in defects)
    assert turns == dict.fromkeys(product("ab", KINDS), 2)
    assert len({sample.id for sample in table}) == len(table)
    assert set(Painter(0).table(reversed(normals))) == set(table), "the order of files decides"
    assert {s.id for s in Painter(1).table(normals)} != {s.id for s in table}, "another draw, the same kinds"


# As a dataset.


def loaded(module) -> dict[str, tuple[bytes, int, int]]:
    """id -> (pixels, label, pixels of its mask) of what training reads."""
    module.setup()
    return {
        info.id: (image.numpy().tobytes(), int(label), int(mask.sum()))
        for batch in module.test_dataloader()
        for info, image, label, mask in zip(batch.samples, batch.images, batch.labels, batch.masks, strict=True)
    }


def test_a_dataset_with_generated_anomalies(small_demo):
    plain, drawn = small_demo("demo_limited"), small_demo("demo_limited", synthetic=0)
    normal = [sample for sample in plain.samples() if not sample.label]
    assert [s for s in drawn.samples() if not s.generated] == normal
    assert any("8 of its test split" in note for note in drawn.notes), drawn.notes
    found, real = loaded(drawn), loaded(plain)
    assert len(found) == 2 * len(normal)
    for sample in drawn.samples():
        pixels, label, marked = found[f"demo_limited/{sample.id}"]
        assert (label, marked > 0) == (int(sample.generated), sample.generated)
        clean = real[f"demo_limited/{sample.image}"][0]
        assert (pixels != clean) == sample.generated, f"{sample.id}: a normal image was changed, or no defect is on it"
    assert loaded(small_demo("demo_limited", synthetic=0, workers=2, batch_size=3, cache_images=True)) == found
    assert loaded(small_demo("demo_limited", synthetic=0, cache_images=True)) == found, "the cache has clean pixels"
    others = [small_demo("demo_limited", synthetic=draw) for draw in (0, 1)]
    hashes = {module.manifest_hash for module in (plain, drawn, *others)}
    assert len(hashes) == 3, "the hash is of the draw, and of nothing else"


def test_normal_images_are_those_of_the_train_split_where_there_are_some(tmp_path):
    miniatures.load("mvtec").write(tmp_path, "mvtec_style")
    (tmp_path / "tile/train/good/000.png").unlink()
    module = registry.load("datasets", "mvtec")(tmp_path, synthetic=0)
    used = {sample.image for sample in module.samples()}
    assert {image.split("/")[1] for image in used if not image.startswith("tile/")} == {"train"}
    assert {image for image in used if image.startswith("tile/")} == {"tile/test/good/000.png"}
    assert any("14 of its train split and 1 of its test split" in note for note in module.notes), module.notes


def test_a_folder_of_good_images_alone_is_enough_and_one_without_is_not(tmp_path):
    for i in range(3):
        write_image(tmp_path / f"parts/good/{i}.png", size=(40, 30))
    module = registry.load("datasets", "folder")(tmp_path / "parts", synthetic=0, image_size=32, workers=0)
    assert module.has_masks
    assert sorted(label for _, label, _ in loaded(module).values()) == [0, 0, 0, 1, 1, 1]
    miniatures.load("colondb").write(tmp_path / "colondb", "raw")
    with pytest.raises(DatasetError, match=r"colondb: .* has no normal image to generate anomalies on; take a dataset"):
        registry.load("datasets", "colondb")(tmp_path / "colondb", synthetic=0).samples()


def test_the_leak_guard_knows_the_images_below_the_defects(small_demo, tmp_path):
    module = small_demo("demo_limited", synthetic=0)
    below = next(sample for sample in module.samples() if sample.generated)
    for folder, source in (("good", module.root / below.image), ("bad", write_image(tmp_path / "other.png"))):
        (tmp_path / "own" / folder).mkdir(parents=True)
        Image.open(source).save(tmp_path / "own" / folder / "0.png")
    target = registry.load("datasets", "folder")(tmp_path / "own")
    with pytest.raises(OverlapError, match=r"the same (pixels|file content)"):
        overlap.check_overlap([module], [target])
