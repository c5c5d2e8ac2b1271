# pytest tests/data/test_image_cache.py
"""The cache of resized images changes nothing but the time, whatever happens to its files."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from zsad_bench.data import image_cache, loaders
from zsad_bench.data.content import UNREADABLE
from zsad_bench.data.image_cache import SHARED, ImageCache, SharedImages
from zsad_bench.errors import DatasetError


@pytest.fixture
def build(small_demo, tmp_path, monkeypatch):
    """build(**options): a module on a copy of a generated dataset, with a cache of its own in `tmp_path/cache`."""
    whole = small_demo("demo_medical").root
    shutil.copytree(whole, tmp_path / "copy")
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path / "cache"))
    return lambda **options: small_demo("demo_medical", **{"root": tmp_path / "copy", "cache_images": True, **options})


@pytest.fixture
def kept(tmp_path):
    """kept(): the files of the cache, sorted."""
    return lambda: sorted(path for path in (tmp_path / "cache/images").rglob("*") if path.is_file())


@pytest.fixture
def decoded(monkeypatch):
    """Grows by every image that is decoded in this process."""
    seen = []
    original = loaders.decode.read_image
    monkeypatch.setattr(loaders.decode, "read_image", lambda path: seen.append(path) or original(path))
    return seen


def read(module):
    """(images, masks) of one pass."""
    found = list(module.test_dataloader())
    return torch.cat([b.images for b in found]), torch.cat([b.masks for b in found])


def equal(*passes) -> bool:
    return all(torch.equal(x, y) for a, b in pairwise(passes) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_bit_for_bit_the_same_and_decoded_once(build, kept, decoded, workers):
    plain = read(build(cache_images=False))
    assert not kept(), "the cache is off by default"
    filled, again = read(build(workers=workers)), None
    assert len(kept()) == len(plain[0]), "one file per image"
    decoded.clear()
    again = read(build())
    assert not decoded, "decoded although it was kept"
    assert equal(plain, filled, again)
    assert all(path.suffix == ".npz" for path in kept()), "an unfinished file was left"


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-50]),
        lambda path: path.write_bytes(path.read_bytes()[:700] + b"\xff\x00\xaa" + path.read_bytes()[703:]),
        lambda path: path.write_text("something else"),
        lambda path: np.savez(path, pixels=np.zeros((5, 5, 3), np.uint8), mask=np.zeros(200, np.uint8)),
        lambda path: np.savez(path, other=np.zeros(3)),
        lambda path: np.savez(path, pixels=np.array([{}], dtype=object), mask=np.zeros(128, np.uint8)),
    ],
    ids=["empty", "cut", "flipped", "text", "size", "names", "pickle"],
)
def test_damaged_files_are_written_anew(build, kept, damage):
    plain = read(build())
    whole = {path: path.read_bytes() for path in kept()}
    for path in whole:
        damage(path)
    assert equal(plain, read(build())), "damage came through"
    assert {path: path.read_bytes() for path in kept()}.keys() == whole.keys()
    for path in kept():
        with np.load(path) as content:
            assert content["pixels"].shape == (32, 32, 3), f"{path} was not written anew"


def test_a_replaced_image_is_read_anew(build):
    before = read(build())
    sample = build().samples()[0]
    path = build().root / sample.image
    time = path.stat().st_mtime_ns
    Image.new("RGB", Image.open(path).size, (200, 10, 10)).save(path)
    os.utime(path, ns=(time + 5, time + 5))
    after = read(build())
    assert not torch.equal(before[0][0], after[0][0])
    assert torch.equal(before[0][1:], after[0][1:])
    assert equal(after, read(build(cache_images=False)))


def test_everything_done_to_the_files_is_in_the_key(tmp_path, monkeypatch):
    a, b, cache = "a" * 64, "b" * 64, ImageCache(tmp_path / "cache")
    places = [
        cache.place([a], None, 8, 0),
        cache.place([b], None, 8, 0),
        cache.place([a, b], None, 8, 0),
        cache.place([b, a], None, 8, 0),
        cache.place([a], (0, 0, 4, 4), 8, 0),
        cache.place([a], None, 9, 0),
        cache.place([a], None, 8, 127),
    ]
    assert cache.place([a], None, 8, 0) == places[0]
    monkeypatch.setattr(image_cache, "PIXEL_RULE", image_cache.PIXEL_RULE + 1)
    places.append(cache.place([a], None, 8, 0))
    assert len(set(places)) == len(places)
    assert cache.place([a, UNREADABLE], None, 8, 0) is None


def test_a_replaced_image_of_the_same_size_and_time_is_read_anew(build):
    """What a photograph line does that overwrites BMP files, and what `cp -p` and `rsync -t` do."""
    before, root = read(build()), build().root
    first, second = (root / sample.image for sample in build().samples()[:2])
    time = first.stat().st_mtime_ns
    content = first.read_bytes()
    length = max(len(content), len(second.read_bytes()))
    for path, data in ((first, second.read_bytes()), (second, content)):
        path.write_bytes(data.ljust(length, b"\0"))  # what follows the end of a PNG is not read
        os.utime(path, ns=(time, time))
    after = read(build())
    assert torch.equal(before[0][0], after[0][1])
    assert torch.equal(before[0][1], after[0][0])


def test_data_that_was_moved_is_not_decoded_again(build, decoded, tmp_path):
    before = read(build())
    (tmp_path / "copy").rename(tmp_path / "moved")
    decoded.clear()
    assert equal(before, read(build(root=tmp_path / "moved")))
    assert not decoded


def test_augmentation_neither_fills_nor_reads_it(build, kept):
    list(build(augment=["flip"]).train_dataloader())
    assert not kept()
    list(build().train_dataloader())
    assert kept(), "training without augmentation fills it"


def test_bad_and_odd_files_are_met_in_every_pass(build, kept, monkeypatch):
    monkeypatch.setattr(loaders, "MOST_RESIZED", 1.0)
    module = build(on_bad_image="skip")
    path = module.root / module.samples()[-1].image
    path.write_bytes(path.read_bytes()[:100])
    mask = next(module.root / s.masks[0] for s in module.samples() if s.masks)
    Image.new("L", (9, 9), 255).save(mask)
    for _ in range(2):
        loader = module.test_dataloader()
        assert len(list(loader)) > 0
        assert (len(loader.skipped), len(loader.resized)) == (1, 1)
    assert len(kept()) == len(module.samples()) - 2


def test_crops_of_one_file_are_kept_apart(build, kept):
    from dataclasses import replace

    sample = next(s for s in build().samples() if s.masks)
    crops = [replace(sample, crop=box) for box in ((0, 0, 30, 30), (20, 20, 60, 50))]
    plain = read(build(samples=crops, cache_images=False))
    assert equal(plain, read(build(samples=crops)), read(build(samples=crops)))
    assert len(kept()) == 2


def test_a_cache_that_cannot_be_written_is_one_line(build, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/images").write_text("a file where the folder should be")
    with pytest.raises(DatasetError, match="cannot write the image cache") as error:
        list(build().test_dataloader())
    assert "\n" not in str(error.value)
    assert str(tmp_path / "cache/images") in str(error.value)


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_args, **_arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_cache.np, "savez", full)
    cache = ImageCache(tmp_path / "images")
    with pytest.raises(DatasetError, match="No space left on device"):
        cache.write(tmp_path / "images/ab/x.npz", np.zeros((4, 4, 3), np.uint8), None)
    assert not list((tmp_path / "images/ab").iterdir())


def test_sizes_are_as_documented(tmp_path):
    cache, pixels = ImageCache(tmp_path), np.zeros((518, 518, 3), np.uint8)
    for name, mask in (("a", None), ("b", np.ones((518, 518), bool))):
        cache.write(tmp_path / f"{name}.npz", pixels, mask)
        size = (tmp_path / f"{name}.npz").stat().st_size
        assert f"{size:,}" in image_cache.__doc__, f"a file takes {size:,} bytes"
        assert (cache.read(tmp_path / f"{name}.npz", 518, mask is not None)[1] is None) == (mask is None)


# --- shared by processes ----------------------------------------------------------------------------------------------


def _reader(module, start, answers) -> None:
    """In a process of its own: one pass; answers with the number of decoded images and the sum of all pixels."""
    seen, original = [], loaders.decode.read_image
    loaders.decode.read_image = lambda path: seen.append(path) or original(path)
    torch.set_num_threads(1)
    start.wait()
    images, masks = read(module)
    answers.put((len(seen), int(images.sum()), int(masks.sum())))


def side_by_side(module, count: int = 2) -> list[tuple[int, int, int]]:
    """What so many processes answer that read the same data at the same time."""
    context = multiprocessing.get_context("fork")
    start, answers = context.Barrier(count), context.Queue()
    readers = [context.Process(target=_reader, args=(module, start, answers)) for _ in range(count)]
    for reader in readers:
        reader.start()
    found = [answers.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join()
        assert reader.exitcode == 0
    return found


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """shared(floor): the folder that processes are told to share from now on."""

    def tell(floor: int = 0):
        folder = tmp_path / "shared"
        folder.mkdir(exist_ok=True)
        monkeypatch.setenv(SHARED, SharedImages(folder, floor).to_text())
        return folder

    return tell


def test_two_processes_decode_each_image_once(build, shared):
    module = build(cache_images=False, workers=0)
    images, masks = read(module)
    apart = side_by_side(module)
    assert [count for count, *_ in apart] == [len(images)] * 2, "they share what nobody told them to share"
    folder = shared()
    together = side_by_side(module)
    assert sum(count for count, *_ in together) == len(images)
    assert [sums for _, *sums in together] == [[int(images.sum()), int(masks.sum())]] * 2
    assert len(list(folder.rglob("*.npz"))) == len(images)
    assert [count for count, *_ in side_by_side(module)] == [0, 0], "what came before is not used"


def test_what_has_no_room_is_decoded_by_each(build, shared, decoded, capsys):
    plain = read(build(cache_images=False))
    folder = shared(floor=2**62)
    for _ in range(2):
        decoded.clear()
        assert equal(plain, read(build(cache_images=False, workers=0)))
        assert len(decoded) == len(plain[0])
    assert not list(folder.rglob("*.npz"))
    assert capsys.readouterr().err == "", "that is no fault"


def test_a_shared_folder_that_cannot_be_written_is_no_error(build, shared, monkeypatch, capsys):
    def full(*_args, **_arrays):
        raise OSError(28, "No space left on device")

    plain = read(build(cache_images=False))
    folder = shared()
    monkeypatch.setattr(image_cache.np, "savez", full)
    image_cache._say_alone.cache_clear()
    for _ in range(2):
        assert equal(plain, read(build(cache_images=False, workers=0)))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1, said
    assert f"{folder} (No space left on device); each group decodes for itself" in said[0]


@pytest.mark.parametrize("text", ["", "5", "five:/tmp", "5:/nowhere/at/all", "5:"])
def test_nothing_is_shared_where_there_is_no_folder(text, monkeypatch):
    monkeypatch.setenv(SHARED, text)
    assert SharedImages.of_environment() is None
