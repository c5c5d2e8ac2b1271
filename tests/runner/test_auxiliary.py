# pytest tests/runner/test_auxiliary.py
"""Auxiliary data are held to what targets are: what is missing, unreadable or does not fit is told and counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PIL import Image

from tests.data.miniatures.files import write_image, write_mask
from zsad_bench import registry
from zsad_bench.data import prior as priors
from zsad_bench.data.synthetic import KINDS
from zsad_bench.errors import DatasetError
from zsad_bench.planning.target import target_of
from zsad_bench.runner.auxiliary import Auxiliary, auxiliary


@pytest.fixture
def colon(tmp_path):
    """A copy of ColonDB of twelve of its 380 images."""
    root = tmp_path / "CVC-ColonDB"
    for number in range(1, 13):
        write_image(root / f"images/{number}.png")
        write_mask(root / f"masks/{number}.png")
    return root


@pytest.fixture
def parts(tmp_path):
    """An own folder with masks: four normal, six defective images."""
    root = tmp_path / "lot A+B/parts"
    for i in range(4):
        write_image(root / f"good/{i}.png")
    for i in range(6):
        write_image(root / f"bad/{i}.png")
        write_mask(root / f"masks/bad/{i}.png")
    return root


@pytest.fixture
def learn(tmp_path, monkeypatch) -> Callable[..., Auxiliary]:
    """learn(spec, **options): the auxiliary data of a prior, from what lies under `tmp_path`."""
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))

    def learned(spec: str, **options) -> Auxiliary:
        def data_of(asked, more):
            name, place, *_ = target_of(asked)
            usual = {"image_size": 16, "workers": 0, **options, **more}
            return registry.load("datasets", name)(place or None, **usual)

        return auxiliary(priors.resolve(spec, "paper"), data_of)

    return learned


def images(found: Auxiliary) -> list[str]:
    return [sample.image for module in found.modules for sample in module.samples()]


def test_what_is_partial_is_told_before_any_choice(colon, learn):
    found = learn("colondb")
    assert found.partial == "colondb 12 of 380"
    assert any("auxiliary data are partial: colondb 12 of 380" in note for note in found.notes), found.notes
    assert any("expected 0 and 380" in note for note in found.notes), "its own notes were swallowed"
    assert learn("colondb:shots=4").partial == "colondb 12 of 380", "how many are kept has nothing to do with it"


def test_a_choice_from_a_whole_dataset_is_not_partial(parts, learn):
    found = learn(f"folder:{parts}:shots=2:normals=1")
    assert len(images(found)) == 3
    assert found.partial == ""


def test_a_union_names_the_parts_that_are_partial(colon, parts, learn):
    found = learn(f"folder:{parts}+colondb:shots=5")
    assert found.partial == "colondb 12 of 380"
    assert found.spec.name == "folder:lot A%2BB/parts+colondb:shots=5"
    assert found.spec.auxiliary == ("folder:lot A+B/parts", "colondb")
    assert [module.name for module in found.modules] == list(found.spec.auxiliary)


def test_an_own_folder_is_learned_from(parts, learn):
    whole, few = learn(f"folder:{parts}"), learn(f"folder:{parts}:shots=2")
    assert whole.data.has_masks
    batch = next(iter(whole.data.train_dataloader()))
    assert batch.masks.flatten(1).any(1).tolist() == batch.labels.bool().tolist()
    assert set(images(few)) < set(images(whole))
    assert few.hash != whole.hash
    assert any("taken as anomalous is what lies in bad" in note for note in whole.notes), whole.notes


def test_a_table_is_learned_from(parts, learn):
    (parts / "t.csv").write_text("image,label,mask\ngood/0.png,0,\nbad/0.png,1,masks/bad/0.png\n")
    found = learn(f"csv:{parts}/t.csv")
    assert found.spec.auxiliary == ("csv:parts/t.csv",)
    assert images(found) == ["bad/0.png", "good/0.png"]


def test_a_manifest_of_an_own_folder_is_read_back(parts, learn, tmp_path, monkeypatch):
    from zsad_bench.data import manifest

    found = learn(f"folder:{parts}:shots=3")
    (module,), (part,) = found.modules, found.spec.parts
    manifest.write(tmp_path / "kept.jsonl", module.name, found.spec.name, 0, 2, module.samples(), part.place)
    assert learn(f"@{tmp_path}/kept.jsonl").hash == found.hash


@pytest.mark.parametrize("victim", ["images/3.png", "masks/3.png"])
def test_what_cannot_be_read_is_left_out_counted_and_changes_the_hash(victim, colon, learn):
    whole = learn("colondb", on_bad_image="skip")
    assert len(images(whole)) == 12
    file = colon / victim
    file.write_bytes(file.read_bytes()[:40])
    skipped = learn("colondb", on_bad_image="skip")
    assert "images/3.png" not in images(skipped)
    assert len(images(skipped)) == 11
    assert skipped.hash != whole.hash
    assert skipped.partial == "colondb 11 of 380"
    assert any(note.startswith("left out:") and str(file) in note for note in skipped.notes), skipped.notes
    assert any("1 of 12 images of colondb cannot be read" in note for note in skipped.notes)
    file.unlink()
    (colon / "images/3.png").unlink(missing_ok=True)
    (colon / "masks/3.png").unlink(missing_ok=True)
    assert learn("colondb").hash == skipped.hash, "it is the prior of those images, however the others were lost"


def test_a_choice_is_among_what_can_be_read(parts, learn):
    for i in range(5):
        file = parts / f"bad/{i}.png"
        file.write_bytes(file.read_bytes()[:30])
    found = learn(f"folder:{parts}:shots=1", on_bad_image="skip")
    assert [image for image in images(found) if image.startswith("bad")] == ["bad/5.png"]
    assert found.partial == "folder:lot A+B/parts 5 of 10"
    for batch in found.data.train_dataloader():
        assert len(batch)


def test_generated_anomalies_are_chosen_from_like_others(parts, learn):
    """Four normal images carry one defect each, of four kinds that take turns; the anomalous ones are never seen."""
    whole = learn(f"folder:{parts}:synthetic", image_size=64)  # so that no mask vanishes in the resize
    (module,) = whole.modules
    assert set(images(whole)) == {f"good/{i}.png" for i in range(4)}
    assert {s.anomaly_type for s in module.samples() if s.label} == set(KINDS)
    assert whole.spec.name == "folder:lot A%2BB/parts:synthetic"
    assert any("4 of its test split" in note for note in whole.notes), whole.notes
    one = learn(f"folder:{parts}:synthetic:types=1:unit=name:normals=2")
    assert sorted(s.label for s in one.modules[0].samples()) == [0, 0, 1]
    two = learn(f"folder:{parts}:synthetic:shots=2:normals=matched")
    assert {s.id for s in two.modules[0].samples() if s.label} < {s.id for s in module.samples() if s.label}
    hashes = [learn(f"folder:{parts}{items}").hash for items in ("", ":synthetic:draw=1", ":synthetic:draw=2")]
    assert len({whole.hash, one.hash, two.hash, *hashes}) == 6
    for batch in whole.data.train_dataloader():
        assert batch.masks.flatten(1).any(1).tolist() == batch.labels.bool().tolist()


def test_a_replaced_file_is_looked_at_again(colon, learn):
    file = colon / "images/5.png"
    good = file.read_bytes()
    file.write_bytes(good[:40])
    assert len(images(learn("colondb", on_bad_image="skip"))) == 11
    file.write_bytes(good)
    assert len(images(learn("colondb", on_bad_image="skip"))) == 12


def test_masks_of_another_size_are_told_from_the_headers(colon, learn, monkeypatch):
    Image.open(colon / "masks/7.png").resize((9, 9)).save(colon / "masks/7.png")
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("a picture was decoded"))
    with pytest.raises(DatasetError, match=r"mask .*masks/7\.png is 9 x 9 .*; 1 of 12 masks have another size"):
        learn("colondb")


def test_a_few_masks_of_another_size_are_said(parts, learn, monkeypatch):
    from zsad_bench.data import loaders

    monkeypatch.setattr(loaders, "MOST_RESIZED", 0.2)
    Image.open(parts / "masks/bad/2.png").resize((9, 9)).save(parts / "masks/bad/2.png")
    assert any("masks/bad/2.png is 9 x 9" in note for note in learn(f"folder:{parts}").notes)
    learn(f"folder:{parts}:normals=0", on_bad_image="stop")


def test_data_without_normal_images_is_said(colon, parts, learn):
    assert any("keeps no normal image" in note for note in learn("colondb").notes)
    assert not any("keeps no normal image" in note for note in learn(f"folder:{parts}").notes)


def test_sizes_are_those_of_the_upright_image(parts, learn):
    """A photograph that is stored lying and shown standing has a mask that stands."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    for i in range(6):
        lying = Image.open(parts / f"bad/{i}.png").convert("RGB")
        lying.save(parts / f"bad/{i}.jpg", exif=exif)
        (parts / f"bad/{i}.png").unlink()
        Image.open(parts / f"masks/bad/{i}.png").transpose(Image.Transpose.ROTATE_270).save(
            parts / f"masks/bad/{i}.png"
        )
    assert not any("another size" in note or " is 16 x 24" in note for note in learn(f"folder:{parts}").notes)
