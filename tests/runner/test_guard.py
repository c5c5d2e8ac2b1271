# pytest tests/runner/test_guard.py
"""The leak guard in a run: what it refuses and says, the count in rows, and what a checkpoint carries for it."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import save_file

from tests.cells import run
from tests.miniature import SCALE
from zsad_bench import registry
from zsad_bench.data import content
from zsad_bench.data.overlap import Seen, see
from zsad_bench.errors import CheckpointError, OverlapError
from zsad_bench.planning.configure import build
from zsad_bench.runner import checkpoint, prepared_run, run_group

TRAINING = {"prior": "limited", "prior_hash": "abc", "auxiliary": ["demo_limited"], "seed": 3, "variant": ""}


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=400, force_terminal=False)


def said(console: Console) -> list[str]:
    return [line for line in console.file.getvalue().splitlines() if "leak guard" in line]


@pytest.fixture
def auxiliary(small):
    """The images that the prior `limited` keeps at this scale."""
    return registry.load("datasets", "demo_limited")(scale=SCALE)


@pytest.fixture
def target(auxiliary, tmp_path, small) -> Path:
    """A user's own folder of two categories: one with two mirrored auxiliary images among others, one without."""
    tested = registry.load("datasets", "demo_textures")(scale=SCALE)
    for category in ("with", "without"):
        for label in (0, 1):
            samples = [s for s in tested.samples() if s.label == label][:2]
            for number, sample in enumerate(samples):
                place = tmp_path / "own" / category / "test" / ("bad" if label else "good") / f"{number}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(tested.root / sample.image, place)
    for number, sample in enumerate(auxiliary.samples()[:2]):
        with Image.open(auxiliary.root / sample.image) as image:
            ImageOps.mirror(image).save(tmp_path / f"own/with/test/good/copy{number}.jpg", quality=95)
    return tmp_path / "own"


def test_near_duplicates_are_said_once_and_counted_by_category(group_in, target, tmp_path, console):
    group = group_in(tmp_path, methods=("clip", "anomalyclip"), targets=(f"folder:{target}",))
    record = run(group, console)
    (line,) = said(console)
    assert re.search(r"2 of 10 images of folder:\S*own look like an auxiliary image", line), line
    assert "copy0.jpg like demo_limited/" in line
    counts = {(r.method, r.category): r.n_near_duplicates for r in record.rows}
    assert counts == {
        ("anomalyclip", "with"): 2, ("anomalyclip", "without"): 0, ("clip", "with"): 0, ("clip", "without"): 0,
    }, "a method that learned from nothing has seen nothing"  # fmt: skip
    seen = checkpoint.read_images(tmp_path / "runs" / record.run_ids[1] / "anomalyclip.safetensors")
    kept = see([registry.load("datasets", "demo_limited")(scale=SCALE)])
    assert seen.names == kept.names
    assert np.array_equal(seen.pixels, kept.pixels)
    assert np.array_equal(seen.signatures, kept.signatures)


def test_the_same_pixels_stop_a_run_before_training(group_in, target, auxiliary, tmp_path, console, monkeypatch):
    monkeypatch.setattr(run_group, "fit", lambda *args: pytest.fail("trained before the leak was seen"))
    with Image.open(auxiliary.root / auxiliary.samples()[0].image) as image:
        image.save(target / "with/test/good/leak.bmp")
    with pytest.raises(OverlapError, match=r"leak\.bmp are the same pixels") as error:
        run(group_in(tmp_path, methods=("anomalyclip",), targets=(f"folder:{target}",)), console)
    assert "\n" not in str(error.value)


@pytest.fixture
def trained(mini, auxiliary, tmp_path) -> Path:
    """A checkpoint that carries the hashes of demo_limited."""
    path = tmp_path / "trained.safetensors"
    checkpoint.save(path, build("anomalyclip", mini, {"image_size": 32}, seed=3), TRAINING, see([auxiliary]))
    return path


def evaluated(group_in, tmp_path, target, path, console):
    group = group_in(tmp_path, methods=("anomalyclip",), epochs=None, targets=(f"folder:{target}",), checkpoint=path)
    return run(group, console)


def absent(monkeypatch) -> None:
    """Auxiliary images are not on this machine."""
    monkeypatch.setattr(prepared_run, "is_found", lambda name: False)


def test_a_checkpoint_is_guarded_where_its_images_are_not(
    group_in, target, trained, auxiliary, tmp_path, console, monkeypatch
):
    absent(monkeypatch)
    record = evaluated(group_in, tmp_path, target, trained, console)
    assert {(r.category, r.n_near_duplicates) for r in record.rows} == {("with", 2), ("without", 0)}
    assert len(said(console)) == 1
    with Image.open(auxiliary.root / auxiliary.samples()[3].image) as image:
        image.save(target / "with/test/good/leak.tif")
    with pytest.raises(OverlapError, match=r"demo_limited/.*leak\.tif are the same pixels"):
        evaluated(group_in, tmp_path, target, trained, console)


def test_a_checkpoint_without_hashes_says_what_cannot_be_compared(
    group_in, target, mini, auxiliary, tmp_path, console, monkeypatch
):
    path = tmp_path / "old.safetensors"
    checkpoint.save(path, build("anomalyclip", mini, {"image_size": 32}, seed=3), TRAINING)
    with safe_open(path, "pt") as file:
        assert file.metadata()["format"] == "zsad-bench checkpoint 1", "earlier versions read it"
    assert checkpoint.read_images(path) is None
    evaluated(group_in, tmp_path, target, path, console)
    (line,) = said(console)
    assert "2 of 10 images" in line, "its images are here, and are compared"
    absent(monkeypatch)
    console.file = io.StringIO()
    record = evaluated(group_in, tmp_path, target, path, console)
    (line,) = said(console)
    assert "has no hashes of the images it learned from, and demo_limited is not here" in line
    assert "names of datasets only" in line
    assert {row.n_near_duplicates for row in record.rows} == {0}


def changed(path: Path, **tensors: torch.Tensor | None) -> Path:
    with safe_open(path, "pt") as file:
        kept, meta = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    kept |= {f"learned_from.{name}": tensor for name, tensor in tensors.items()}
    save_file({name: tensor for name, tensor in kept.items() if tensor is not None}, path, metadata=meta)
    return path


@pytest.mark.parametrize(
    "tensors",
    [
        {"pixels": None},
        {"signatures": torch.zeros(3, 256, dtype=torch.int8)},
        {"pixels": torch.zeros(8, 16)},
        {"names": torch.zeros(0, dtype=torch.uint8)},
        {"names": torch.frombuffer(bytearray(b"a\0b"), dtype=torch.uint8)},
    ],
    ids=lambda tensors: next(iter(tensors)),
)
def test_hashes_that_do_not_fit_are_refused(trained, tensors):
    with pytest.raises(CheckpointError, match="does not fit") as error:
        checkpoint.read_images(changed(trained, **tensors))
    assert str(trained) in str(error.value)
    assert "\n" not in str(error.value)


def test_hashes_of_another_rule_are_not_compared(trained, monkeypatch, mini):
    monkeypatch.setattr(checkpoint, "_RULE", "pixels 99, signatures 1")
    assert checkpoint.read_images(trained) is None
    assert checkpoint.load(trained, mini)[1].training == TRAINING, "it loads all the same"


@pytest.mark.parametrize("names", [(), ("a/b.png",), ("d/\udcff\n.png", "e/☃.png")])
def test_any_names_come_back(mini, tmp_path, names):
    rng = np.random.default_rng(0)
    seen = Seen(
        names,
        rng.integers(0, 256, (len(names), 16), dtype=np.uint8),
        rng.integers(-127, 128, (len(names), 256), dtype=np.int8),
    )
    path = tmp_path / "one.safetensors"
    checkpoint.save(path, build("anomalyclip", mini, {"image_size": 32}, seed=3), TRAINING, seen)
    again = checkpoint.read_images(path)
    assert again.names == names
    assert np.array_equal(again.pixels, seen.pixels)
    assert np.array_equal(again.signatures, seen.signatures)


def test_a_cache_that_cannot_be_written_is_said_once_in_a_run(group_in, tmp_path, console, monkeypatch):
    (tmp_path / "cache").write_text("a file where the folder should be")
    index = content.ContentIndex(tmp_path, tmp_path / "cache" / "content")
    monkeypatch.setattr(content, "_opened", [index])
    (tmp_path / "image").write_bytes(b"1")
    monkeypatch.setattr(content, "SETTLED", -(10**12))
    index.digests(["image"])
    run(group_in(tmp_path, methods=("random",)), console)
    assert console.file.getvalue().count("every file is read again each time") == 1
