# pytest tests/runner/test_shared_encoder.py
"""Many methods in one pass: the same numbers as each alone, for one encoding."""

from __future__ import annotations

import pytest
import torch

from tests.methods.conftest import fill_memory
from tests.miniature import random_batch
from zsad_bench import registry
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.planning.configure import build
from zsad_bench.runner import shared_encoder
from zsad_bench.runner.shared_encoder import SharedPass
from zsad_bench.types import Batch, EncoderSpec, ForwardSpec

SIZE = 48


@pytest.fixture
def calls(mini, monkeypatch) -> list:
    """What the backbone was asked to encode, call by call."""
    made = []
    encode = mini.encode_image

    def counted(images, spec, *rest):
        made.append(spec)
        return encode(images, spec, *rest)

    monkeypatch.setattr(mini, "encode_image", counted)
    return made


def built(mini, *named: tuple[str, dict]):
    """By "number name"; a method with a memory has seen a batch, of which no test here asks again."""
    methods = {
        f"{number} {name}": build(name, mini, {"image_size": SIZE, **settings}, seed=1)
        for number, (name, settings) in enumerate(named)
    }
    for method in methods.values():
        fill_memory(method, random_batch(SIZE, seed=2))
        method.eval()
    return methods


def shared(methods, batch: Batch):
    with torch.no_grad():
        return SharedPass(methods).eval().test_step(batch, 0)


def assert_each_as_alone(methods, batch: Batch) -> None:
    together = shared(methods, batch)
    assert list(together) == list(methods), "a prediction for each label, in their order"
    for label, method in methods.items():
        (alone,) = shared({label: method}, batch).values()
        assert torch.allclose(together[label].score, alone.score, atol=1e-6), f"{label}: scores change in company"
        assert torch.allclose(together[label].map, alone.map, atol=1e-6), f"{label}: maps change in company"


def test_every_method_gives_what_it_gives_alone(mini_for):
    """But for those that say nothing of a batch."""
    on: dict[str, list[str]] = {}
    for name in [name for name in registry.names("methods") if not registry.load("methods", name).transductive]:
        on.setdefault(mini_for(name).id, []).append(name)
    for names in on.values():
        assert_each_as_alone(built(mini_for(names[0]), *[(name, {}) for name in names]), random_batch(SIZE))


def test_methods_with_different_requests_share_one_encoding(mini, calls):
    methods = built(
        mini, ("random", {}), ("clip", {}), ("clip", {"block": 2, "global_ln_post": False}), ("anomalyclip", {}),
        ("anomalyclip", {"taps": (2, 3), "first_vv_block": 2}),
    )  # fmt: skip
    shared(methods, random_batch(SIZE))
    assert len(calls) == 1, f"encoded {len(calls)} times for one forward pass"
    expected = methods["0 random"].encoder_spec
    for method in methods.values():
        expected = expected.merge(method.encoder_spec)
    assert calls[0] == expected, "the one encoding is the union of what was asked"
    assert_each_as_alone(methods, random_batch(SIZE))


def test_all_methods_that_only_read_taps_share_one_encoding(mini, calls):
    """Of whatever fits this backbone: overriding `encode` or asking for more of an image costs more, nothing else."""
    classes = {name: registry.load("methods", name) for name in registry.names("methods")}
    fitting = {name: cls for name, cls in classes.items() if cls.needs <= mini.offers}
    hooks = ("encode", "extra_features")
    reading = [
        name
        for name, cls in fitting.items()
        if all(getattr(cls, hook) is getattr(ZeroShotMethod, hook) for hook in hooks)
    ]
    methods = built(mini, *[(name, {}) for name in reading])
    calls.clear()  # of what filled a memory
    asked: dict[ForwardSpec, EncoderSpec] = {}
    sharing: dict[ForwardSpec, set[str]] = {}
    for label, method in methods.items():
        spec = method.encoder_spec
        asked[spec.forward] = spec.merge(asked.get(spec.forward, spec))
        sharing.setdefault(spec.forward, set()).add(label.split()[1])
    largest = max(sharing.values(), key=len)
    expected = {"clip", "clip_ac", "coop", "cocoop", "anomalyclip", "faprompt", "af_clip", "mrad"}
    assert largest >= expected, sorted(largest)
    shared(methods, random_batch(SIZE))
    assert len(calls) == len(asked), f"encoded {len(calls)} times for {len(asked)} ways to run the tower: {sharing}"
    assert {spec.forward: spec for spec in calls} == asked, "an encoding is not the union of the requests"


@pytest.mark.slow
def test_seeds_share_what_else_they_need_of_an_image(mini, calls):
    """AnoVL's other views depend on neither its seed nor its adaptation; on which views there are they do."""
    seeds = {f"seed {seed}": build("anovl", mini, {"image_size": SIZE}, seed).eval() for seed in (0, 1, 2)}
    shared(built(mini, ("anovl", {})), random_batch(SIZE))
    alone = len(calls)
    assert alone > 1, "one pass for the image and at least one for its views"
    calls.clear()
    shared(seeds, random_batch(SIZE))
    assert len(calls) == alone, f"three seeds took {len(calls)} passes, one takes {alone}"
    assert_each_as_alone(seeds, random_batch(SIZE))
    assert_each_as_alone(built(mini, ("anovl", {}), ("anovl", {"views": ("rotations",)})), random_batch(SIZE))


def test_another_forward_pass_is_another_encoding(mini, calls):
    methods = built(mini, ("clip", {}), ("clip", {"pos_interp": "bicubic"}), ("anomalyclip", {}))
    found = shared(methods, random_batch(SIZE))
    assert len(calls) == 2, "two ways to interpolate positions are two passes, and methods of one way share it"
    assert not torch.equal(found["0 clip"].map, found["1 clip"].map), "bicubic was served with bilinear features"
    assert_each_as_alone(methods, random_batch(SIZE))


def test_a_method_that_changes_what_is_encoded_goes_alone(mini, calls):
    from zsad_bench.methods.clip import Clip

    class Brighter(Clip):
        def encode(self, images, samples):
            return self.encoder(images + 1, samples)

    methods = built(mini, ("clip", {}), ("anomalyclip", {}))
    brighter = Brighter(mini, methods["0 clip"].config).eval()
    batch = random_batch(SIZE)
    found = shared({**methods, "brighter": brighter}, batch)
    assert len(calls) == 2, "one for the two that share, one for the other"
    moved = Batch(batch.images + 1, batch.labels, batch.masks, batch.samples)
    expected = shared({"0 clip": methods["0 clip"]}, moved)["0 clip"]
    assert torch.allclose(found["brighter"].map, expected.map, atol=1e-6), "it was given the shared features"


def test_methods_that_ask_for_nothing_encode_nothing(mini, calls):
    shared(built(mini, ("random", {}), ("center_prior", {})), random_batch(SIZE))
    assert not calls, "images were encoded for methods that look at none"


def test_a_whole_category_is_scored_on_the_device_of_its_method(mini, monkeypatch):
    """AA-CLIP keeps cosines in `Features.extra` alone: nothing else of its features is on a device."""
    (label, method), *_ = methods = list(built(mini, ("aa_clip", {"fidelity": "official"})).items())
    batch = random_batch(SIZE)
    category = batch.samples[0].category
    places = [i for i, sample in enumerate(batch.samples) if sample.category == category]
    one_pass = SharedPass(dict(methods)).eval()
    with torch.no_grad():
        for part in ([0, 1], [2, 3, 4]):
            samples = [batch.samples[i] for i in part]
            one_pass.test_step(Batch(batch.images[part], batch.labels[part], batch.masks[part], samples), 0)
        own = [batch.samples[i] for i in places]
        expected = method.score_set(method.encode(batch.images[places], own), own)
    scored, clocks = one_pass.costs[category][label].score, []
    # No kernel runs where the backbone is said to be: only the clock is read there.
    monkeypatch.setattr(type(mini), "device", property(lambda _: torch.device("cuda", 0)))
    monkeypatch.setattr(shared_encoder, "device_clock", lambda device: clocks.append(device) or float(len(clocks)))
    found = one_pass.finish(category)[label]
    assert clocks == 2 * [torch.device("cuda", 0)], "the clock does not wait for the device that scores"
    assert one_pass.costs[category][label].score == scored + 1.0
    assert torch.allclose(found.score, expected.score, atol=1e-6)
    assert torch.allclose(found.map, expected.map, atol=1e-6)
