# pytest tests/data/test_transforms.py
"""The evaluation transform against the published one (torchvision on PIL), and image and mask staying together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from PIL import Image, ImageDraw

from zsad_bench.data import decode, transforms
from zsad_bench.data.transforms import CLIP_MEAN, CLIP_STD
from zsad_bench.errors import DatasetError, UsageError
from zsad_bench.types import Normalisation, normalised

CLIP = Normalisation(CLIP_MEAN, CLIP_STD)

WIDTH, HEIGHT = 90, 60
BARS = [(20, 0, 29, HEIGHT - 1), (0, 36, WIDTH - 1, 43)]  # an upright off the middle, a crossbar below it


@pytest.fixture
def cross(tmp_path):
    """A white cross on grey noise, and its mask; neither square nor symmetric, so that a swap or flip shows."""
    noise = np.random.default_rng(0).integers(60, 120, (HEIGHT, WIDTH, 3), np.uint8)
    image, mask = Image.fromarray(noise), Image.new("L", (WIDTH, HEIGHT))
    for bar in BARS:
        ImageDraw.Draw(image).rectangle(bar, fill=(255, 255, 255))
        ImageDraw.Draw(mask).rectangle(bar, fill=255)
    image.save(tmp_path / "image.png")
    mask.save(tmp_path / "mask.png")
    return tmp_path


@pytest.mark.parametrize("size", [32, 96, 240])
def test_image_is_the_published_preprocessing(cross, size):
    from torchvision import transforms as published

    image = Image.open(cross / "image.png").convert("RGB")
    reference = published.Compose(
        [
            published.Resize((size, size), published.InterpolationMode.BICUBIC),
            published.ToTensor(),
            published.Normalize(CLIP_MEAN, CLIP_STD),
        ]
    )(image).numpy()
    pixels = transforms.channels_first(transforms.image_pixels(decode.read_image(cross / "image.png").image, size))
    assert pixels.dtype == np.uint8, "what workers send is not small"
    ours = normalised(torch.from_numpy(pixels)[None], CLIP)[0]
    assert ours.dtype == torch.float32
    assert ours.shape == (3, size, size)
    np.testing.assert_allclose(ours.numpy(), reference, atol=1e-6)


def test_pixels_are_normalised_bit_for_bit_as_in_numpy():
    """As rows were measured before batches were uint8."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 31, 29, 3), np.uint8)
    pixels[0, :16, :16] = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    by_numpy = (pixels.astype(np.float32) / 255 - np.array(CLIP_MEAN, np.float32)) / np.array(CLIP_STD, np.float32)
    found = normalised(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()), CLIP)
    assert np.array_equal(found.numpy(), by_numpy.transpose(0, 3, 1, 2))


def test_what_cannot_be_normalised_is_refused():
    pixels = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    for images, by in ((pixels, None), (pixels.to(torch.int16), CLIP)):
        with pytest.raises(UsageError, match="expected uint8 as a loader") as error:
            normalised(images, by)
        assert "\n" not in str(error.value)


def test_a_batch_is_normalised_once_and_keeps_its_pixels(small_demo):
    (first, *_) = small_demo("demo_medical").test_dataloader()
    ready = first.normalised()
    assert first.images.dtype == torch.uint8
    assert ready.images.dtype == torch.float32
    assert ready.pixels is first.images
    assert ready.normalised() is ready
    assert torch.equal(ready.images, normalised(first.images, CLIP))


def test_a_trainer_hands_over_normalised_images(small_demo):
    class Seen(LightningModule):
        def test_step(self, batch, batch_idx):
            found.append(batch)

    data, found = small_demo("demo_medical"), []
    Trainer(logger=False, enable_progress_bar=False, accelerator="cpu").test(Seen(), datamodule=data, verbose=False)
    for batch, raw in zip(found, data.test_dataloader(), strict=True):
        assert torch.equal(batch.images, raw.normalised().images)
        assert torch.equal(batch.pixels, raw.images)


@pytest.mark.parametrize("size", [32, 96, 240])
def test_mask_is_the_published_preprocessing(cross, size):
    from torchvision import transforms as published

    mask = Image.open(cross / "mask.png")
    reference = (published.ToTensor()(published.Resize((size, size))(mask)) > 0.5).numpy()[0]
    ours = transforms.mask_array(decode.read_mask(cross / "mask.png").image, size)
    assert ours.dtype == bool
    assert (ours == reference).all()


@pytest.mark.parametrize("size", [48, 96, 240])
def test_image_and_mask_of_a_cross_stay_together(cross, size):
    image = transforms.image_pixels(decode.read_image(cross / "image.png").image, size).mean(2) / 255
    mask = transforms.mask_array(decode.read_mask(cross / "mask.png").image, size)
    assert ((image > 0.72) == mask).mean() > 0.97, "the bright cross and its mask are in different places"
    rows, cols = np.nonzero(mask.all(1))[0] / size, np.nonzero(mask.all(0))[0] / size
    assert abs(rows.mean() - 40 / HEIGHT) < 0.03, "the crossbar moved"
    assert abs(cols.mean() - 25 / WIDTH) < 0.03, "the upright moved"


def test_mask_values_above_the_threshold_are_anomalous(tmp_path):
    ids = np.zeros((8, 8), np.uint8)  # class ids 1 to 9, as in VisA
    ids[:4] = 3
    Image.fromarray(ids).save(tmp_path / "ids.png")
    assert transforms.mask_array(decode.read_mask(tmp_path / "ids.png").image, 8)[:4].all()
    assert not transforms.mask_array(decode.read_mask(tmp_path / "ids.png", threshold=127).image, 8).any()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    Image.new("RGB", (9, 7), (200, 200, 200)).convert(mode).save(tmp_path / "image.png")
    image = decode.read_image(tmp_path / "image.png").image
    assert image.mode == "RGB"
    assert image.size == (9, 7)


def test_content_decides_not_the_suffix(tmp_path):
    Image.new("RGB", (5, 5), (9, 9, 9)).save(tmp_path / "image.jpg", format="PNG")
    assert decode.read_image(tmp_path / "image.jpg").image.getpixel((0, 0)) == (9, 9, 9)


@pytest.mark.parametrize("damage", ["text", "empty", "cut", "missing"])
def test_unreadable_files_are_named_in_one_line(cross, damage):
    path = cross / "image.png"
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"text": b"not an image", "empty": b"", "cut": whole[: len(whole) // 2]}[damage])
    with pytest.raises(DatasetError) as error:
        decode.read_image(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
