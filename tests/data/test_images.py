# pytest tests/data/test_images.py
"""Photos without labels: paths, pictures and arrays are one image, by the rule of files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

from zsad_bench.data import decode
from zsad_bench.data.images import Images
from zsad_bench.errors import DatasetError, UsageError
from zsad_bench.types import ImageBatch


def pixels(source, tmp_path, name="one.png") -> dict[str, np.ndarray]:
    """The RGB of a picture: by itself, as an array, and by way of a file."""
    path = tmp_path / name
    Image.fromarray(source).save(path)
    found = {
        "array": decode.from_array(source, "it").image,
        "made": decode.from_pil(Image.fromarray(source), "it").image,
        "opened": decode.from_pil(Image.open(path), "it").image,
        "file": decode.read_image(path).image,
    }
    return {way: np.asarray(image) for way, image in found.items()}


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((9, 7), np.uint8), ((9, 7), np.uint16), ((9, 7), np.bool_), ((9, 7, 3), np.uint8), ((9, 7, 4), np.uint8)],
)
def test_an_array_is_what_its_file_would_be(shape, dtype, tmp_path):
    rng = np.random.default_rng(3)
    high = 2 if dtype == np.bool_ else np.iinfo(dtype).max + 1
    source = rng.integers(0, high, shape).astype(dtype)
    found = pixels(source, tmp_path)
    for way, image in found.items():
        assert image.shape == (9, 7, 3), way
        assert np.array_equal(image, found["file"]), f"{way} has other pixels than the file"
    if dtype == np.uint16:
        assert np.array_equal(found["file"][..., 0], source >> 8)


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3), (9, 7, 4)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_is_read_as_0_to_1(shape, dtype):
    source = np.random.default_rng(1).random(shape).astype(dtype)
    wanted = np.rint(source.astype(np.float32) * 255)
    wanted = np.repeat(wanted.reshape(9, 7, 1), 3, 2) if wanted.size == 63 else wanted[..., :3]
    assert np.array_equal(np.asarray(decode.from_array(source, "it").image), wanted)


@given(arrays.arrays(np.uint16, st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([3, 4]))))
def test_wide_colours_keep_their_upper_bits(source):
    assert np.array_equal(np.asarray(decode.from_array(source, "it").image), source[..., :3] >> 8)


@given(arrays.arrays(
    st.sampled_from([np.int8, np.int16, np.int32, np.int64, np.uint32, np.uint64, np.complex64]),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
))  # fmt: skip
def test_a_range_that_nothing_states_is_refused(source):
    with pytest.raises(DatasetError, match=f"array of {source.dtype}"):
        decode.from_array(source, "it")


@given(st.lists(st.integers(0, 5), max_size=5))
def test_other_shapes_are_refused_in_one_line(shape):
    fits = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    array = np.zeros(shape, np.uint8)
    if fits and array.size:
        assert decode.from_array(array, "it").image.size == (shape[1], shape[0])
        return
    with pytest.raises(DatasetError) as caught:
        decode.from_array(array, "it")
    assert "\n" not in str(caught.value)


def test_a_picture_is_turned_upright_as_its_file_is(tmp_path):
    source = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(source).save(tmp_path / "turned.png", exif=exif)
    whole = decode.read_image(tmp_path / "turned.png").image
    assert whole.size == (8, 12)
    for picture in (Image.open(tmp_path / "turned.png"), Image.open(tmp_path / "turned.png").convert("RGB")):
        assert np.array_equal(np.asarray(decode.from_pil(picture, "it").image), np.asarray(whole))


def test_a_picture_of_several_frames_is_refused(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DatasetError, match="2 frames"):
        decode.from_pil(Image.open(tmp_path / "film.gif"), "it")


def test_a_trainer_predicts_them_in_order(tmp_path):
    class Mean(LightningModule):
        def predict_step(self, batch: ImageBatch, batch_idx: int) -> tuple[list[str], torch.Tensor]:
            assert batch.images.shape[1:] == (3, 24, 24)
            assert len(batch) == len(batch.sizes)
            return [sample.id for sample in batch.samples], batch.images.mean((1, 2, 3))

    levels = (10, 200, 90)
    sources = [np.full((8 + i, 20), level, np.uint8) for i, level in enumerate(levels)]
    Image.fromarray(sources[0]).save(tmp_path / "a.png")
    given = [tmp_path / "a.png", Image.fromarray(sources[1]), sources[2]]
    data = Images(given, "metal_nut", image_size=24, batch_size=2, mean=(0, 0, 0), std=(1, 1, 1))
    found = Trainer(logger=False, enable_progress_bar=False).predict(Mean(), datamodule=data)
    assert [name for names, _ in found for name in names] == [str(tmp_path / "a.png"), "images[1]", "images[2]"]
    means = torch.cat([values for _, values in found])
    assert torch.allclose(means, torch.tensor(levels) / 255, atol=1e-6)
    assert data.category.prompt_name == "metal nut"


def test_with_worker_processes_an_error_is_still_its_one_line(tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    paths = [tmp_path / "a.png"] * 3 + [tmp_path / "gone.png"]
    loader = Images(paths, image_size=16, batch_size=2, workers=1).predict_dataloader()
    with pytest.raises(DatasetError, match=r"gone\.png does not exist") as caught:
        list(loader)
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    del caught


def test_a_wrong_name_kind_or_domain_is_refused():
    picture = np.zeros((4, 4), np.uint8)
    refused = (({"name": "007"}, "not a name"), ({"kind": "objekt"}, "object"), ({"domain": "x"}, "domain"))
    for options, words in refused:
        with pytest.raises(UsageError, match=words):
            Images([picture], **options)
