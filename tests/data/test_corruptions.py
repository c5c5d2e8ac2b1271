# pytest tests/data/test_corruptions.py
"""Corruptions: worse with each severity, the same bits each time, for pictures of any size, and in no clean test."""

from __future__ import annotations

import hashlib
import io
import pickle
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from tests.data.miniatures.files import write_image
from zsad_bench import registry
from zsad_bench.conditions import SEVERITIES, Condition
from zsad_bench.data.corruptions import CORRUPTIONS, REFERENCE, Corruptor
from zsad_bench.data.pixels import PIXEL_RULE
from zsad_bench.errors import DatasetError, UnknownNameError, UsageError

HEIGHT, WIDTH = 224, 280


@pytest.fixture(scope="module")
def picture():
    """(image, mask): structure of every size, amplitude falling with frequency as in photographs; a marked disk."""
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(WIDTH), np.fft.fftfreq(HEIGHT)))[..., None]
    white = np.fft.rfft2(np.random.default_rng(0).normal(size=(HEIGHT, WIDTH, 3)), axes=(0, 1))
    drawn = np.fft.irfft2(white / np.maximum(frequency, 1 / WIDTH), (HEIGHT, WIDTH), axes=(0, 1))
    image = (110 + 40 * drawn / drawn.std()).clip(0, 255).astype(np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    mask = np.where((x - 150) ** 2 + (y - 60) ** 2 < 20**2, 255, 0).astype(np.uint8)
    return image, mask


def corrupted(name, severity, image, mask=None, key="a/1.png"):
    return Corruptor(Condition("corruption", name, severity))(image, mask, key)


def psnr(one, other) -> float:
    """Peak signal-to-noise ratio in decibels."""
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_is_worse_than_the_one_before(picture, name):
    found = [corrupted(name, severity, picture[0])[0] for severity in SEVERITIES]
    assert all(image.shape == picture[0].shape and image.dtype == np.uint8 for image in found)
    ratios = [psnr(image, picture[0]) for image in found]
    assert ratios == sorted(ratios, reverse=True), f"{name}: PSNR by severity {np.round(ratios, 2)}"
    assert min(a - b for a, b in pairwise(ratios)) > 0.05, "two severities are alike"
    assert ratios[0] < 45, "nothing to see at severity 1"


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_bits_each_time_whatever_was_corrupted_before(picture, name):
    corruptor = Corruptor(Condition("corruption", name, 3))
    first = corruptor(*picture, "b/2.png")
    corruptor(*picture, "c/3.png")
    again, copied = corruptor(*picture, "b/2.png"), pickle.loads(pickle.dumps(corruptor))(*picture, "b/2.png")
    for image, mask in (again, copied):
        assert (image == first[0]).all()
        assert (mask == first[1]).all()
    assert (picture[0] != first[0]).any()


def test_images_have_noise_and_directions_of_their_own(picture):
    noise = [corrupted("gaussian_noise", 3, picture[0], key=key)[0] for key in "ab"]
    assert (noise[0] != noise[1]).mean() > 0.9
    turned = {corrupted("rotation", 3, picture[0], key=str(i))[0].tobytes() for i in range(12)}
    assert len(turned) == 2, "to the left or to the right, by the same angle"


def test_noise_grows_and_does_not_change_with_severity():
    grey = np.full((120, 120, 3), 128, np.uint8)
    weak, strong = (corrupted("gaussian_noise", severity, grey)[0].astype(float) - 128 for severity in (1, 3))
    assert weak.std() == pytest.approx(255 * 0.08, rel=0.02), "the standard deviation that the table says"
    assert np.corrcoef(weak.ravel(), strong.ravel())[0, 1] > 0.99, "the same noise, stronger"


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != "rotation"])
def test_only_rotation_moves_a_mask(picture, name):
    assert corrupted(name, 5, *picture)[1] is picture[1]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_mask_follows_rotation(picture, severity):
    mask = picture[1]
    image, turned = corrupted("rotation", severity, np.repeat(mask[..., None], 3, axis=2), mask)
    assert set(np.unique(turned)) == {0, 255}, "nearest neighbour"
    assert ((image[..., 0] > 127) != (turned > 127)).mean() < 0.005, "image and mask are turned alike"
    centre = np.array([WIDTH / 2, HEIGHT / 2])
    before, after = (np.argwhere(m)[:, ::-1].mean(axis=0) + 0.5 - centre for m in (mask, turned))
    angle = np.degrees(np.arctan2(*after[::-1]) - np.arctan2(*before[::-1]))
    assert abs(angle) == pytest.approx(CORRUPTIONS["rotation"].values[severity - 1], abs=0.7)


def test_what_is_mirrored_in_at_the_border_is_marked_as_it_was():
    mask = np.zeros((100, 100), np.uint8)
    mask[:, :12] = 255
    image, turned = corrupted("rotation", 5, np.repeat(mask[..., None], 3, axis=2), mask)
    assert ((image[..., 0] > 127) != (turned > 127)).mean() < 0.01


def test_a_severity_takes_the_same_detail_from_a_larger_picture(picture):
    """Lengths scale: what is corrupted at three times the size and then shrunk is what is corrupted at its own size."""
    large = np.asarray(Image.fromarray(picture[0]).resize((3 * WIDTH, 3 * HEIGHT), Image.Resampling.BICUBIC))
    for name in ("gaussian_blur", "defocus_blur", "low_resolution"):
        small = np.asarray(Image.fromarray(picture[0]))
        of_large = Image.fromarray(corrupted(name, 3, large)[0]).resize((WIDTH, HEIGHT), Image.Resampling.BOX)
        apart = np.abs(np.asarray(of_large, float) - corrupted(name, 3, small)[0]).mean()
        changed = np.abs(small.astype(float) - corrupted(name, 3, small)[0]).mean()
        assert apart < 0.45 * changed, f"{name}: {apart:.2f} grey levels apart, and {changed:.2f} from the clean one"


def test_grains_of_noise_are_as_large_as_at_224():
    large = np.full((4 * REFERENCE, 4 * REFERENCE, 3), 128, np.uint8)
    noisy = corrupted("gaussian_noise", 1, large)[0]
    assert (noisy.reshape(REFERENCE, 4, REFERENCE, 4, 3) == noisy[::4, None, ::4, None]).all()
    small = corrupted("gaussian_noise", 1, large[:50, :50])[0][..., 0].astype(float)
    assert abs(np.corrcoef(small[:, 1:].ravel(), small[:, :-1].ravel())[0, 1]) < 0.1, "not finer than a pixel"


def test_jpeg_is_what_pillow_writes(picture):
    file = io.BytesIO()
    Image.fromarray(picture[0]).save(file, "JPEG", quality=15)
    assert (corrupted("jpeg", 3, picture[0])[0] == np.asarray(Image.open(file))).all()


def test_brightness_adds_to_the_value():
    image = np.array([[[40, 80, 20], [0, 0, 0], [200, 240, 220]]], np.uint8)
    bright = corrupted("brightness", 2, image)[0][0].astype(int)
    assert bright.max(axis=1) == pytest.approx([131, 51, 255], abs=1), "255 x 0.2 more, at most 255"
    assert bright[0] / bright[0].max() == pytest.approx(np.array([0.5, 1, 0.25]), abs=0.02), "hue and saturation stay"


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (3, 500)])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_smallest_pictures(name, size):
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    for severity in (1, 5):
        changed, mask = corrupted(name, severity, image, np.zeros(size, np.uint8))
        assert changed.shape == image.shape
        assert mask.shape == size


def test_every_corruption_says_where_its_values_are_from():
    for name, of in CORRUPTIONS.items():
        assert of.source.startswith(("ImageNet-C (Hendrycks", "ours")), f"{name} has no source"
        assert "%" not in of.what
        assert len(set(of.values)) == len(SEVERITIES)


def test_an_unknown_one():
    with pytest.raises(UnknownNameError, match="unknown corruption 'jpg'; did you mean jpeg"):
        Corruptor(Condition("corruption", "jpg", 3))


# In a data module.


def batches(loader):
    """id -> (image, mask, content), of one pass."""
    return {i.id: (x, m, i.content) for b in loader for x, m, i in zip(b.images, b.masks, b.samples, strict=True)}


def test_tests_are_corrupted_and_nothing_else_is(small_demo, tmp_path, monkeypatch):
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path))
    plain = small_demo("demo_objects", cache_images=True)
    bad = small_demo("demo_objects", cache_images=True, condition="gaussian_noise:3", root=plain.root)
    clean, noisy = batches(plain.test_dataloader()), batches(bad.test_dataloader())
    assert clean.keys() == noisy.keys()
    assert all((clean[name][0] != noisy[name][0]).any() for name in clean), "read from the cache of clean images?"
    assert all((clean[name][1] == noisy[name][1]).all() for name in clean), "noise moved a mask"
    assert not {c for *_, c in clean.values()} & {c for *_, c in noisy.values()}, "kept features would be confused"
    helped = small_demo("demo_objects", condition="gaussian_noise:3", workers=2, root=plain.root)
    again = batches(helped.test_dataloader())
    assert all((noisy[name][0] == again[name][0]).all() for name in noisy), "another process draws something else"
    assert all((clean[n][0] == batches(plain.test_dataloader())[n][0]).all() for n in list(clean)[:1])


def test_what_rows_say_and_what_is_hashed(small_demo):
    plain = small_demo("demo_objects")
    hashes = {"": plain.manifest_hash}
    for condition in ("jpeg:1", "jpeg:2", "rotation:1", "wording:german", "wording:object"):
        module = small_demo("demo_objects", condition=condition, root=plain.root)
        kind, name = ("wording", condition.partition(":")[2]) if "wording" in condition else ("corruption", condition)
        assert module.decisions() == {kind: name}
        hashes[condition] = module.manifest_hash
        assert module.shortfall == ""
    assert len(set(hashes.values())) == len(hashes)
    assert plain.decisions() == {}
    assert small_demo("demo_objects", condition="", root=plain.root).manifest_hash == plain.manifest_hash


def test_the_data_hash_without_a_condition_says_nothing_of_one(tmp_path):
    """The keys of committed rows are made of such hashes: the pixel rule, and a line per sample."""
    for name in ("good/0.png", "bad/0.png"):
        Image.new("RGB", (8, 8), (10, 20, 30)).save(_made(tmp_path / name), format="PNG")
    module = registry.load("datasets", "folder")(tmp_path)
    lines = module.manifest()
    text = "\n".join([f"pixel rule {PIXEL_RULE}", *lines])
    assert module.manifest_hash == hashlib.sha256(text.encode()).hexdigest()


def _made(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_a_region_that_leaves_the_picture_is_counted_as_vanished(tmp_path):
    """The same way as for regions that are too small: an anomalous image without a marked pixel."""
    root = tmp_path / "own" / "strips"  # the last two names are part of the image's id, which decides the side
    write_image(root / "test/good/0.png")
    image, mask = Image.new("RGB", (90, 30), (90, 90, 90)), Image.new("L", (90, 30))
    mask.putpixel((1, 1), 255)
    image.save(_made(root / "test/bad/0.png"))
    mask.save(_made(root / "ground_truth/bad/0_mask.png"))
    found = {}
    for condition in ("", "rotation:5"):
        module = registry.load("datasets", "folder")(root, condition=condition, image_size=90, workers=0)
        found[condition] = {name: int(mask.sum()) for name, (_, mask, _) in batches(module.test_dataloader()).items()}
    assert sorted(map(bool, found[""].values())) == [False, True]
    assert not any(found["rotation:5"].values())


def test_a_condition_is_never_trained_on(small_demo):
    module = small_demo("demo_medical", condition="jpeg:3")
    with pytest.raises(UsageError, match="demo_medical under jpeg:3: a condition is for tests; train without it"):
        module.train_dataloader()


@pytest.mark.parametrize(
    ("condition", "error", "says"),
    [
        ("jpg:3", UnknownNameError, "unknown corruption 'jpg'; did you mean jpeg"),
        ("wording:germn", UnknownNameError, "unknown wording 'germn'; did you mean german"),
        ("jpeg", UsageError, "condition 'jpeg': expected a corruption and a severity"),
    ],
)
def test_bad_conditions(small_demo, condition, error, says):
    with pytest.raises(error, match=says):
        small_demo("demo_objects", condition=condition)


def test_wordings_rename_categories_and_leave_out_what_has_no_other_word(small_demo):
    plain = small_demo("demo_textures")
    german = small_demo("demo_textures", condition="wording:german", root=plain.root)
    called = {category.name: category.prompt_name for category in german.categories()}
    assert called == {"perforated": "Lochblech", "carpet": "Teppich"}
    assert german.unworded == ("terrazzo",)
    (note,) = [note for note in german.notes if "wording" in note]
    assert note.endswith("1 of 3 categories are left out, as there is no other word for them: terrazzo (terrazzo)")
    assert {c.prompt_name for c in small_demo("demo_textures", condition="wording:object").categories()} == {"object"}
    assert german.shortfall == "", "what a wording leaves out is not a part of the data"


def test_a_dataset_without_any_other_word(tmp_path):
    for name in ("good/0.png", "bad/0.png"):
        write_image(tmp_path / "widget" / name)
    module = registry.load("datasets", "folder")(tmp_path / "widget", condition="wording:german")
    with pytest.raises(DatasetError, match=r"there is no other word for .*; leave this wording out"):
        module.samples()
