# pytest tests/data/test_content.py
"""The cache agrees with the files, whatever happens to the files, to the index or beside it."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from zsad_bench.data import content
from zsad_bench.data.content import UNREADABLE, ContentIndex, Stamp
from zsad_bench.data.demo import generate
from zsad_bench.data.looks import look


@pytest.fixture
def settled(monkeypatch):
    """Files are old enough to be cached as soon as they are written."""
    monkeypatch.setattr(content, "SETTLED", -(10**12))


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Grows by the name of every file that is read."""
    seen: list[str] = []
    original = content.sha256
    monkeypatch.setattr(content, "sha256", lambda path: seen.append(Path(path).name) or original(path))
    return seen


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder of three files."""
    for name, data in (("a", b"one"), ("b", b"two"), ("c/d", b"three")):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_bytes(data)
    return tmp_path / "root"


NAMES = ["a", "b", "c/d"]


def truth(root: Path, names=NAMES) -> dict[str, str]:
    return {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in names}


def photograph(seed: int, size: tuple[int, int] = (60, 40)) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)


# --- read once --------------------------------------------------------------------------------------------------------


def test_the_second_time_only_asks_for_their_stamps(root, tmp_path, settled, reads):
    assert ContentIndex(root, tmp_path / "index").digests(NAMES) == truth(root)
    assert sorted(reads) == ["a", "b", "d"]
    reads.clear()
    again = ContentIndex(root, tmp_path / "index")
    assert again.digests([*NAMES, *NAMES]) == truth(root)
    assert again.digest("b") == truth(root)["b"]
    assert not reads, f"read although nothing changed: {reads}"


def test_files_that_changed_just_now_are_read_again(root, tmp_path, reads):
    ContentIndex(root, tmp_path / "index").digests(NAMES)
    ContentIndex(root, tmp_path / "index").digests(NAMES)
    assert sorted(reads) == ["a", "a", "b", "b", "d", "d"], "a second change within the tick would not show"


@pytest.mark.parametrize("change", ["content", "inode", "time", "link"])
def test_a_change_is_seen(root, tmp_path, settled, change):
    os.utime(root / "a", ns=(10**18, 10**18))
    before = ContentIndex(root, tmp_path / "index").digests(NAMES)
    if change == "inode":  # what `rsync -t` does
        (root / "new").write_bytes(b"eno")
        os.replace(root / "new", root / "a")
    elif change == "link":
        (tmp_path / "elsewhere").write_bytes(b"eno")
        (root / "a").unlink()
        (root / "a").symlink_to(tmp_path / "elsewhere")
    else:
        (root / "a").write_bytes(b"eno")
    if change != "time":
        os.utime(root / "a", ns=(10**18, 10**18))
    after = ContentIndex(root, tmp_path / "index").digests(NAMES)
    assert after == truth(root)
    assert after["a"] != before["a"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(min_size=4, max_size=4), min_size=1, max_size=6), st.booleans())
def test_any_series_of_contents_of_one_size_and_time(contents, back):
    """Written as fast as it goes, so that several fall into one tick of the file system's clock."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        index = ContentIndex(root, root / "index")
        for data in contents:
            (root / "a").write_bytes(data)
            if back:
                os.utime(root / "a", ns=(10**18, 10**18))
            assert index.digest("a") == hashlib.sha256(data).hexdigest()
            index.save()
            assert ContentIndex(root, root / "index").digest("a") == hashlib.sha256(data).hexdigest()


def test_a_clock_that_stands_still_tells_nothing(root, tmp_path, monkeypatch):
    """The worst of clocks: every change of this second has the same stamp."""
    now = content.time.time_ns()
    monkeypatch.setattr(Stamp, "of", classmethod(lambda cls, path: cls(3, now, now, 1)))
    index = ContentIndex(root, tmp_path / "index")
    for data in (b"one", b"eno", b"neo"):
        (root / "a").write_bytes(data)
        assert index.digest("a") == hashlib.sha256(data).hexdigest()
    assert not Stamp(3, 0, now, 1).is_settled(now), "the time of a change can be set back, that of the entry cannot"
    assert Stamp(3, 0, now, 1).is_settled(now + content.SETTLED + 1)


def test_a_file_that_changes_while_it_is_read_is_not_remembered(root, tmp_path, settled, monkeypatch):
    original = content.sha256

    def slow(path):
        digest = original(path)
        Path(path).write_bytes(b"other")
        return digest

    monkeypatch.setattr(content, "sha256", slow)
    index = ContentIndex(root, tmp_path / "index")
    index.digest("a")
    monkeypatch.setattr(content, "sha256", original)
    assert index.digest("a") == truth(root)["a"]


def test_what_cannot_be_read(root, tmp_path):
    (root / "folder").mkdir()
    (root / "loop").symlink_to("loop")
    index = ContentIndex(root, tmp_path / "index")
    names = ["none", "folder", "loop"]
    assert index.digests(names) == dict.fromkeys(names, UNREADABLE)
    assert index.looks(names) == dict.fromkeys(names)


@pytest.mark.parametrize("name", ["\udcff\udce9.png", "a\nb", '"[red]x', "naïve ☃", "c/d"])
def test_any_name(root, tmp_path, settled, reads, name):
    (root / name).write_bytes(b"content")
    for _ in range(2):
        assert ContentIndex(root, tmp_path / "index").digests([name]) == truth(root, [name])
    assert len(reads) == 1


# --- looks ------------------------------------------------------------------------------------------------------------


def test_images_are_decoded_once_per_content(root, tmp_path, settled, monkeypatch):
    decoded = []
    original = content.decode.read_image
    monkeypatch.setattr(content.decode, "read_image", lambda path: decoded.append(path.name) or original(path))
    photograph(1).save(root / "x.png")
    photograph(2).save(root / "y.png")
    Image.new("RGB", (9, 9), (5, 5, 5)).save(root / "flat.png")
    names = ["x.png", "y.png", "flat.png", "a"]
    index = ContentIndex(root, tmp_path / "index")
    assert index.unseen(names) == 4
    seen = index.looks(names)
    assert seen == {"x.png": look(photograph(1)), "y.png": look(photograph(2)), "flat.png": seen["flat.png"], "a": None}
    assert seen["flat.png"].signature is None
    (root / "x.png").rename(root / "z.png")
    decoded.clear()
    again = ContentIndex(root, tmp_path / "index")
    assert again.unseen(names) == 1, "what cannot be decoded is tried again"
    assert again.looks(["z.png", *names[1:3]]) == {"z.png": seen["x.png"], **{n: seen[n] for n in names[1:3]}}
    assert not decoded, "decoded although this content was seen"
    monkeypatch.setattr(content, "_LOOKS", "another rule")
    assert ContentIndex(root, tmp_path / "index").unseen(["y.png"]) == 1


# --- the file on disk -------------------------------------------------------------------------------------------------


def flip(data: bytes) -> bytes:
    at = data.index(b'"file"') + 30
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:-30],
    "cut and appended": lambda data: data[: len(data) // 2] + data,
    "flipped": flip,
    "text": lambda data: b"something else\n" * 5,
    "binary": lambda data: bytes(range(256)) * 9,
    "types": lambda data: b"".join(
        content._line(record)
        for record in (["file", "a", 3, 1, 1, 1, "zz"], ["file", "a", "3", 1, 1, 1, "0" * 64], ["file"], {}, 7, None,
                       ["look", "0" * 64, content._LOOKS, 1, 1, "0" * 32, "!"], ["look", 1, 2], [[]])
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_index_is_neither_trusted_nor_fatal(root, tmp_path, settled, reads, how):
    photograph(1).save(root / "x.png")
    first = ContentIndex(root, tmp_path / "index")
    looks = first.looks(["x.png"])
    first.digests(NAMES)
    first.file.write_bytes(DAMAGE[how](first.file.read_bytes()))
    for _ in range(2):
        index = ContentIndex(root, tmp_path / "index")
        assert index.digests(NAMES) == truth(root)
        assert index.looks(["x.png"]) == looks
    reads.clear()
    ContentIndex(root, tmp_path / "index").digests(NAMES)
    assert not reads, "the index was not repaired"


@pytest.mark.parametrize("what", ["folder is a file", "file is a folder"])
def test_an_index_that_cannot_be_written_is_said(root, tmp_path, settled, what):
    index = ContentIndex(root, tmp_path / "index")
    if what == "folder is a file":
        (tmp_path / "index").write_text("")
    else:
        index.file.mkdir(parents=True)
    for _ in range(2):
        assert index.digests(NAMES) == truth(root)
        (root / "a").write_bytes(b"another")
    assert "every file is read again each time" in index.trouble
    assert str(tmp_path / "index") in index.trouble
    assert "\n" not in index.trouble


def test_troubles_are_of_this_process(root, tmp_path, monkeypatch, settled):
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").write_text("no folder")
    monkeypatch.setattr(content, "_opened", list(content._opened))  # what goes wrong here is of this test alone
    before = content.troubles()
    index = content.index_of(root)
    assert content.index_of(root) is index
    index.digests(NAMES)
    assert content.troubles() == [*before, index.trouble]


def _fill(root: Path, folder: Path, names: list[str]) -> None:
    index = ContentIndex(root, folder)
    for name in names:
        index.digest(name)
        index.save()


def test_several_processes_at_once(tmp_path, settled, reads):
    root, folder = tmp_path / "root", tmp_path / "index"
    root.mkdir()
    names = [f"{number}" for number in range(120)]
    for name in names:
        (root / name).write_text(name)
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_fill, args=(root, folder, names[at::4])) for at in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    reads.clear()
    assert ContentIndex(root, folder).digests(names) == truth(root, names)
    assert not reads, f"{len(reads)} of 120 entries were lost"


def test_outdated_lines_are_swept(root, tmp_path, settled, monkeypatch, reads):
    monkeypatch.setattr(content, "_WORTH_SWEEPING", 10)
    photograph(1).save(root / "x.png")
    for number in range(40):
        (root / "a").write_text(str(number))
        index = ContentIndex(root, tmp_path / "index")
        index.looks(["x.png"])
        index.digests(NAMES)
    assert len(index.file.read_bytes().split()) < 40, "old lines pile up"
    reads.clear()
    index = ContentIndex(root, tmp_path / "index")
    assert index.digests(NAMES) == truth(root)
    assert not reads
    assert index.unseen(["x.png"]) == 0
    assert [path.name for path in (tmp_path / "index").iterdir()] == [index.file.name]


# --- the data hash ----------------------------------------------------------------------------------------------------


@pytest.fixture
def build(small_demo, tmp_path):
    """build(**options): a user's own folder of a few images with masks."""
    from zsad_bench import registry

    for label, name in (("good", "a"), ("good", "b"), ("dent", "c"), ("dent", "d")):
        path = tmp_path / f"own/test/{label}/{name}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(ord(name)).save(path)
        if label == "dent":
            mask = tmp_path / f"own/ground_truth/dent/{name}.bmp"
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.uint8(255) * (np.arange(2400).reshape(40, 60) % 60 < 20)).save(mask)
    return lambda **options: registry.load("datasets", "folder")(tmp_path / "own", **options)


@pytest.mark.parametrize("file", ["test/good/a.bmp", "test/dent/d.bmp", "ground_truth/dent/c.bmp"])
def test_one_byte_is_another_hash(build, tmp_path, file):
    before, path = build().manifest_hash, tmp_path / "own" / file
    assert build().manifest_hash == before
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert build().manifest_hash != before
    data[-1] ^= 1
    path.write_bytes(data)
    assert build().manifest_hash == before, "the same content is the same data, whenever it was written"


def test_the_rule_of_pixels_is_part_of_it(build, monkeypatch):
    from zsad_bench.data import base

    before = build().manifest_hash
    monkeypatch.setattr(base, "PIXEL_RULE", base.PIXEL_RULE + 1)
    assert build().manifest_hash != before


def test_crops_of_a_file_read_it_once(build, reads):
    sample = build().samples()[0]
    crops = [replace(sample, crop=(x, 0, x + 8, 8)) for x in range(20)]
    reads.clear()
    assert len(build(samples=crops).manifest()) == 20
    assert len(reads) <= 2, f"an image and its mask, read {len(reads)} times"


def test_a_file_that_may_not_be_read_has_a_hash(build, tmp_path, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    whole = build().manifest_hash
    monkeypatch.setattr(content, "sha256", refused)
    assert build().manifest_hash != whole


def test_a_generated_image_that_was_changed_is_other_data(small_demo, tmp_path):
    shutil.copytree(small_demo("demo_medical").root, tmp_path / "copy")
    module = small_demo("demo_medical", root=tmp_path / "copy")
    assert module.manifest_hash == small_demo("demo_medical").manifest_hash
    path = tmp_path / "copy" / module.samples()[0].image
    with Image.open(path) as image:
        pixels = np.asarray(image).copy()
    pixels[3, 5] ^= 1
    Image.fromarray(pixels).save(path)
    assert small_demo("demo_medical", root=tmp_path / "copy").manifest_hash != module.manifest_hash


def test_generated_data_are_the_same_on_a_processor_that_rounds_otherwise(small_demo, tmp_path, monkeypatch):
    """Without vector units 13 of the 300 images of demo_medical have one pixel that is a grey level away."""
    real = generate.pair

    def rounded_otherwise(*args, **options):
        pair = real(*args, **options)
        pair.normal[0, 0, 0] ^= 1
        return pair

    here = small_demo("demo_medical")
    path = next(sample.image for sample in here.samples() if sample.label == 0)
    hash_here, image = here.manifest_hash, (here.root / path).read_bytes()
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path))
    monkeypatch.setattr(generate, "pair", rounded_otherwise)
    there = small_demo("demo_medical")
    assert (there.root / path).read_bytes() != image, "nothing differs"
    assert there.manifest_hash == hash_here


@pytest.mark.parametrize("library", ["numpy", "cv2"])
def test_another_version_of_what_draws_is_other_data(small_demo, tmp_path, monkeypatch, library):
    before = small_demo("demo_medical").manifest_hash
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path))
    monkeypatch.setattr(f"{library}.__version__", "99.0")
    assert small_demo("demo_medical").manifest_hash != before
