# pytest tests/backbones/test_feature_store.py
"""A store of features: what it gives back is what was encoded, and what it is not sure of it does not give."""

from __future__ import annotations

import errno
import multiprocessing
import warnings
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.float32 import assert_close
from zsad_bench.backbones import feature_store
from zsad_bench.backbones.encoder import Encoder
from zsad_bench.backbones.feature_store import FeatureStore, Kept, can_be_kept, size_of
from zsad_bench.backbones.forward import Increment, rows_below
from zsad_bench.errors import UsageError
from zsad_bench.types import Category, EncoderSpec, SampleInfo, Tap

THING = Category("shop", "cup", "cup", "object", "industrial")
MUCH = 10**9


@pytest.fixture
def spec(mini) -> EncoderSpec:
    taps = frozenset({Tap(2), Tap(4, 3), Tap(3, raw=True)})
    return EncoderSpec(mini.forward_spec(32), taps, frozenset({"cls", "mean"}))


@pytest.fixture
def samples(images) -> list[SampleInfo]:
    return [SampleInfo(f"shop/{i}.png", THING, content=f"pixels{i}") for i in range(len(images))]


def outputs(features) -> list[torch.Tensor]:
    return [*(features.rows[tap] for tap in sorted(features.rows)),
            *(features.vectors[name] for name in sorted(features.vectors))]  # fmt: skip


def assert_equal(found, expected) -> None:
    assert (found.rows.keys(), found.vectors.keys()) == (expected.rows.keys(), expected.vectors.keys())
    assert (found.grid, found.image_size, found.n_prefix) == (expected.grid, expected.image_size, expected.n_prefix)
    for one, other in zip(outputs(found), outputs(expected), strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)


def no_encoding(mini, monkeypatch) -> None:
    monkeypatch.setattr(mini, "encode_image", lambda *args, **options: pytest.fail("encoded, although it is stored"))


@pytest.fixture
def encoded(mini, images, spec):
    with torch.no_grad():
        return mini.encode_image(images, spec)


@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "on disk"])
def test_an_image_is_encoded_once(mini, images, spec, samples, encoded, monkeypatch, tmp_path, on_disk):
    store = FeatureStore(0 if on_disk else MUCH, tmp_path if on_disk else None)
    encoder = Encoder(mini, spec, store=store)
    assert_equal(encoder(images, samples), encoded)
    no_encoding(mini, monkeypatch)
    assert_equal(encoder(images, samples), encoded)
    order = [2, 0]
    assert_equal(encoder(images[order], [samples[i] for i in order]), encoded.select(order))
    assert (encoder.n_images, store.n_encoded, store.n_read) == (3, 3, 5)
    assert bool(store.in_memory) is not on_disk


def test_another_process_finds_what_is_on_disk(mini, images, spec, samples, encoded, monkeypatch, tmp_path):
    Encoder(mini, spec, store=FeatureStore(0, tmp_path))(images, samples)
    no_encoding(mini, monkeypatch)
    other = FeatureStore(MUCH, tmp_path)
    assert_equal(Encoder(mini, spec, store=other)(images, samples), encoded)
    assert other.seconds_saved != other.seconds_saved, "nobody knows what encoding took elsewhere"


def test_only_what_is_missing_is_encoded(mini, images, spec, samples, encoded, monkeypatch):
    store = FeatureStore(MUCH)
    encoder = Encoder(mini, spec, store=store)
    encoder(images[:1], samples[:1])
    asked, encode = [], mini.encode_image
    monkeypatch.setattr(
        mini, "encode_image", lambda images, spec: asked.append((len(images), spec)) or encode(images, spec)
    )
    for one, other in zip(outputs(encoder(images, samples)), outputs(encoded), strict=True):
        assert_close(one, other)
    more = EncoderSpec(spec.forward, spec.taps | {Tap(1)}, spec.pooled)
    Encoder(mini, more, store=store)(images, samples)
    assert asked == [(2, spec), (3, EncoderSpec(spec.forward, frozenset({Tap(1)})))]


@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "on disk"])
def test_what_others_will_ask_for_is_encoded_along(mini, images, spec, samples, monkeypatch, tmp_path, on_disk):
    others = EncoderSpec(spec.forward, frozenset({Tap(1), Tap(2, raw=True, first_vv_block=2)}))
    store = FeatureStore(0 if on_disk else MUCH, tmp_path if on_disk else None)
    store.coming = {spec.forward: spec.merge(others)}
    alone = Encoder(mini, others, store=FeatureStore(MUCH))(images, samples)
    found = Encoder(mini, spec, store=store)(images, samples)
    assert found.rows.keys() == spec.taps, "what nobody asked for now is given all the same"
    no_encoding(mini, monkeypatch)
    assert_equal(Encoder(mini, others, store=store)(images, samples), alone)
    assert (store.n_encoded, store.n_read) == (3, 3)


def test_nothing_is_encoded_along_that_has_no_room(mini, images, spec, samples, monkeypatch):
    asked, encode = [], mini.encode_image
    monkeypatch.setattr(mini, "encode_image", lambda images, spec: asked.append(spec) or encode(images, spec))
    union = EncoderSpec(spec.forward, spec.taps | {Tap(1)}, spec.pooled)
    store = FeatureStore(3 * size_of(mini, union) - 1)
    store.coming = {spec.forward: union}
    Encoder(mini, spec, store=store)(images, samples)
    assert asked == [spec]
    assert store.in_memory == 3 * size_of(mini, spec)
    room = FeatureStore(3 * size_of(mini, union))
    room.coming = {spec.forward: union}
    Encoder(mini, spec, store=room)(images, samples)
    Encoder(mini, spec, store=room)(images, samples)
    assert asked == [spec, union]


def test_the_budget_is_kept(mini, images, spec, samples, encoded):
    size = size_of(mini, spec)
    store = FeatureStore(2 * size)
    encoder = Encoder(mini, spec, store=store)
    for _ in range(3):
        for one, other in zip(outputs(encoder(images, samples)), outputs(encoded), strict=True):
            assert_close(one, other)
    assert store.in_memory == 2 * size
    assert (store.n_encoded, store.n_read) == (3 + 1 + 1, 2 + 2)


def test_the_size_is_what_is_kept(mini, images, spec, samples):
    for type_ in ("float32", "float16"):
        store = FeatureStore(MUCH, dtype=type_)
        Encoder(mini, spec, store=store)(images, samples)
        assert store.in_memory == len(images) * size_of(mini, spec, type_)


def test_half_precision_is_the_same_each_time_and_near(mini, images, spec, samples, encoded):
    encoder = Encoder(mini, spec, store=FeatureStore(MUCH, dtype="float16"))
    first = encoder(images, samples)
    assert_equal(encoder(images, samples), first)
    for one, other in zip(outputs(first), outputs(encoded), strict=True):
        assert torch.equal(one, other.half().float())
        assert not torch.equal(one, other)


def test_what_is_kept_is_nobody_elses(mini, images, spec, samples, encoded):
    encoder = Encoder(mini, spec, store=FeatureStore(MUCH))
    for rows in outputs(encoder(images, samples)):
        rows.zero_()
    for rows in outputs(encoder(images, samples)):
        rows.zero_()
    assert_equal(encoder(images, samples), encoded)


def test_other_weights_sizes_outputs_and_types_lie_elsewhere(mini, spec):
    store = FeatureStore(MUCH)
    other, grey, compiled = (copy(mini) for _ in range(3))
    other.weights_hash, grey.mean, compiled.compiled = "0" * 64, (0.5,) * 3, "default"
    forward, bf16 = spec.forward, replace(spec.forward, precision="bf16")
    places = [
        store.place(mini, forward, Tap(2)),
        store.place(mini, forward, Tap(2, raw=True)),
        store.place(mini, forward, Tap(2, 1)),
        store.place(mini, forward, "cls"),
        store.place(mini, replace(forward, image_size=64), Tap(2)),
        store.place(mini, replace(forward, pos_interp="bicubic"), Tap(2)),
        store.place(mini, replace(forward, activation="gelu"), Tap(2)),
        store.place(other, forward, Tap(2)),
        store.place(grey, forward, Tap(2)),
        FeatureStore(MUCH, dtype="float16").place(mini, forward, Tap(2)),
        store.place(mini, bf16, Tap(2)),
        store.place(compiled, bf16, Tap(2)),
    ]
    assert len(set(places)) == len(places)
    assert FeatureStore(MUCH).place(mini, forward, Tap(2)) == places[0]
    assert store.place(compiled, forward, Tap(2)) == places[0], "compiling changes nothing in float32"


@pytest.mark.parametrize("content", ["", "other"])
def test_other_and_unknown_pixels_are_encoded(mini, images, spec, samples, content):
    store = FeatureStore(MUCH)
    encoder = Encoder(mini, spec, store=store)
    encoder(images, samples)
    changed = images + 1
    with torch.no_grad():
        expected = mini.encode_image(changed, spec)
    found = encoder(changed, [replace(s, content=content and f"{content} {s.id}") for s in samples])
    assert_equal(found, expected)


def shards(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 0x40
    file.write_bytes(content)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_short, flipped, emptied])
def test_damaged_shards_are_written_again(mini, images, spec, samples, encoded, tmp_path, damage):
    Encoder(mini, spec, store=FeatureStore(0, tmp_path))(images, samples)
    whole = {file: file.read_bytes() for file in shards(tmp_path)}
    assert len(whole) == len(images) * (len(spec.taps) + len(spec.pooled))
    damaged = list(whole)[3]
    damage(damaged)
    said: list[str] = []
    store = FeatureStore(MUCH, tmp_path, say=said.append)
    for one, other in zip(outputs(Encoder(mini, spec, store=store)(images, samples)), outputs(encoded), strict=True):
        assert_close(one, other)
    assert store.n_damaged == 1
    assert len(said) == 1
    assert str(damaged) in said[0]
    fresh = FeatureStore(0, tmp_path, say=pytest.fail)
    Encoder(mini, spec, store=fresh)(images, samples)
    assert (fresh.n_damaged, fresh.n_read) == (0, 3)


def test_a_full_disk_is_no_store(mini, images, spec, samples, encoded, tmp_path, monkeypatch):
    def full(path, durable):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(feature_store, "whole_file", full)
    said: list[str] = []
    store = FeatureStore(0, tmp_path, say=said.append)
    encoder = Encoder(mini, spec, store=store)
    assert_equal(encoder(images, samples), encoded)
    assert_equal(encoder(images, samples), encoded)
    assert (store.n_encoded, len(said)) == (6, 1)
    assert "No space left on device" in said[0]
    assert not shards(tmp_path)


def write(folder: Path, place: str, value: float) -> None:
    store = FeatureStore(0, folder)
    for number in range(30):
        store.keep(f"{number:02d}", {place: Kept(torch.full((50, 20), value + number), 0.0)})


def test_two_writers_do_not_harm_each_other(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write, args=(tmp_path, "place", 0.0)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    store = FeatureStore(0, tmp_path, say=pytest.fail)
    for number in range(30):
        kept = store.read("place", f"{number:02d}")
        assert kept is not None
        assert torch.equal(kept.rows, torch.full((50, 20), float(number)))
    assert len(list(tmp_path.rglob("*"))) == 30 + 30 + 1, "nothing half-written is left"


def test_an_unknown_type_is_refused():
    with pytest.raises(UsageError, match="float32 or float16, found float8"):
        FeatureStore(1, dtype="float8")


def test_troubles_are_warnings_by_themselves(mini, images, spec, samples, tmp_path):
    Encoder(mini, spec, store=FeatureStore(0, tmp_path))(images, samples)
    emptied(shards(tmp_path)[0])
    with pytest.warns(UserWarning, match="damaged"):
        Encoder(mini, spec, store=FeatureStore(0, tmp_path))(images, samples)


# -- passes that are edited ----------------------------------------------------------------------------------------
PATHS = [
    Tap(4),
    Tap(2, raw=True),
    Tap(3, attended=True, raw=True),
    Tap(4, 2),
    Tap(3, 1),
    Tap(4, 4),
    Tap(4, 2, raw=True),
    Tap(4, 2, vv="value_value"),
    Tap(3, 3, vv="value_only"),
]


@pytest.mark.parametrize("first_edit", [2, 3, 4, 5])
@pytest.mark.parametrize("taps", [*([tap] for tap in PATHS), PATHS], ids=lambda taps: f"{len(taps)} {taps[0]}")
def test_a_pass_goes_on_where_its_first_edit_is(mini, images, samples, taps, first_edit):
    spec = EncoderSpec(mini.forward_spec(32), frozenset(taps), frozenset({"cls"}))
    step = nn.Parameter(torch.full((mini.vision.width,), 0.1))

    def edit(block, rows):
        assert block >= first_edit or not store.n_read, "edited below its first block"
        return Increment(step.expand_as(rows)) if block >= first_edit else rows

    store = FeatureStore(MUCH)
    encoder = Encoder(mini, spec, True, first_edit, store)
    expected = mini.encode_image(images, spec, edit)
    for found in (encoder(images, samples, edit), encoder(images, samples, edit)):
        for one, other in zip(outputs(found), outputs(expected), strict=True):
            assert torch.equal(one, other)
            assert one.requires_grad == other.requires_grad
    assert (store.n_encoded, store.n_read) == (3, 3)
    if outputs(expected)[0].requires_grad:
        sums = [sum(rows.sum() for rows in outputs(of) if rows.requires_grad) for of in (found, expected)]
        gradients = [torch.autograd.grad(total, step)[0] for total in sums]
        assert torch.equal(*gradients)


@pytest.mark.parametrize("first_edit", [None, 1])
def test_of_an_edited_pass_nothing_is_kept_where_nothing_is_known_to_lie_below(mini, images, samples, spec, first_edit):
    store = FeatureStore(MUCH)
    Encoder(mini, spec, first_edit=first_edit, store=store)(images, samples, lambda block, rows: rows)
    assert (store.n_encoded, store.in_memory) == (0, 0)


def test_what_depends_on_the_batch_is_not_kept(mini, images, samples):
    spec = EncoderSpec(mini.forward_spec(32), frozenset({Tap(4, 2, vv="batch_mix")}))
    assert not can_be_kept(spec)
    assert not can_be_kept(EncoderSpec(spec.forward, rows_below(spec.taps, 3)))
    store = FeatureStore(MUCH)
    with warnings.catch_warnings(action="error"):
        Encoder(mini, spec, store=store)(images, samples)
    assert store.in_memory == 0
