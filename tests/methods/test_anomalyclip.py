# pytest tests/methods/test_anomalyclip.py
"""What is special to AnomalyCLIP; parity with the released code is in tests/golden."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.float32 import assert_close
from zsad_bench.backbones.load import architecture
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.methods.anomalyclip import AnomalyClip, AnomalyClipConfig
from zsad_bench.runner import checkpoint
from zsad_bench.types import Tap

LEARNED = ("ctx_normal", "ctx_abnormal", "deep_tokens")
ensembles = pytest.mark.parametrize("ensemble", ["seeds", "orthogonal"])


@pytest.fixture
def anomalyclip(make):
    return lambda **settings: make("anomalyclip", **settings)


@pytest.fixture
def learn(batch):
    """learn(method): loss terms of the shared batch as numbers, and the gradients of everything that learns."""

    def learned(method):
        (stage,) = method.stages()
        method.begin_stage(stage)
        terms = method.losses(method.encode(batch.images, batch.samples), batch)
        sum(terms.values()).backward()
        gradients = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
        return {name: float(value.detach()) for name, value in terms.items()}, gradients

    return learned


def test_the_name_of_the_class_changes_nothing(anomalyclip, predict, batch):
    method = anomalyclip()
    nut, carpet = batch.samples[0].category, batch.samples[1].category
    named = [
        predict(method, replace(batch, samples=[replace(s, category=category) for s in batch.samples]))
        for category in (nut, carpet)
    ]
    assert torch.equal(named[0].score, named[1].score), "scores depend on the object's name"
    assert torch.equal(named[0].map, named[1].map), "maps depend on the object's name"


def test_unset_block_numbers_scale_to_the_backbone(anomalyclip):
    config = anomalyclip().config  # 4 visual and 3 text blocks, 48 px
    assert (config.taps, config.first_vv_block, config.deep_depth) == ((4,), 1, 2)
    assert config.gaussian_sigma == pytest.approx(4 * 48 / 518)
    config = AnomalyClip.resolve(AnomalyClipConfig(), architecture("ViT-L-14-336-quickgelu"))
    assert (config.taps, config.first_vv_block, config.deep_depth) == ((24,), 6, 9), "ViT-L has the paper's numbers"
    assert config.gaussian_sigma == 4.0


def test_block_numbers_that_are_given_stay(anomalyclip):
    method = anomalyclip(taps=(2, 4), first_vv_block=3, deep_depth=3, gaussian_sigma=1.5)
    config = method.config
    assert (config.taps, config.first_vv_block, config.deep_depth) == ((2, 4), 3, 3)
    assert config.gaussian_sigma == 1.5
    assert method.deep_tokens.shape == (2, 4, 32), "one matrix in front of each of blocks 2..3"
    assert method.encoder_spec.taps == {Tap(2, 3), Tap(4, 3)}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"taps": (5,)}, r"block 5: mini has blocks 1\.\.4"),
        ({"taps": (0, 4)}, r"block 0: mini has blocks 1\.\.4"),
        ({"first_vv_block": 5}, r"first_vv_block 5: mini has blocks 1\.\.4"),
        ({"deep_depth": 4}, r"before block 4: mini's text has blocks 1\.\.3"),
    ],
)
def test_block_numbers_out_of_range_are_errors(anomalyclip, predict, batch, settings, said):
    with pytest.raises(BackboneError, match=said):
        predict(anomalyclip(**settings), batch)


def test_official_fidelity_rounds_the_deep_tokens(anomalyclip, predict, batch):
    paper, official = anomalyclip(), anomalyclip(fidelity="official")
    assert (paper.config.deep_token_cast, official.config.deep_token_cast) == ("none", "fp16")
    explicit = anomalyclip(deep_token_cast="fp16")
    with torch.no_grad():
        assert torch.equal(official.raw_texts(), explicit.raw_texts()), "the preset is that one option"
        difference = (official.raw_texts() - paper.raw_texts()).abs().max()
        assert 0 < difference < 1e-2, f"rounding to fp16 moved text features by {difference:.1e}"
        paper.deep_tokens.copy_(paper.deep_tokens.half().float())
        assert torch.equal(official.raw_texts(), paper.raw_texts()), "rounding is all that the cast does"
    own = anomalyclip(fidelity="official", deep_token_cast="none")
    assert own.config.deep_token_cast == "none", "an option that is given wins over the preset"


def test_maps_of_taps_are_summed_or_averaged(anomalyclip, predict, batch):
    taps = (2, 4)
    summed, averaged = (predict(anomalyclip(taps=taps, map_reduction=how), batch) for how in ("sum", "mean"))
    single = [predict(anomalyclip(taps=(tap,)), batch).map for tap in taps]
    assert torch.allclose(summed.map, single[0] + single[1], atol=1e-6), "sum is not the sum of the taps' maps"
    assert torch.allclose(averaged.map, summed.map / 2, atol=1e-6), "mean is not half the sum of two"
    assert torch.equal(averaged.score, summed.score), "the score looks at the global feature alone"


def test_smoothing_is_for_maps_alone(anomalyclip, predict, batch):
    rough, smooth = (predict(anomalyclip(gaussian_sigma=sigma), batch) for sigma in (0.0, 3.0))
    assert torch.equal(rough.score, smooth.score), "the score depends on how its map is smoothed"
    assert smooth.map.var() < rough.map.var()
    methods = [anomalyclip(gaussian_sigma=sigma) for sigma in (0.0, 3.0)]
    losses = [method.losses(method.encode(batch.images, batch.samples), batch) for method in methods]
    assert losses[0] == losses[1], "losses are taken on unsmoothed maps"


def test_local_loss_is_weighted_and_summed_over_taps(anomalyclip, batch):
    def local(**settings):
        method = anomalyclip(**settings)
        return float(method.losses(method.encode(batch.images, batch.samples), batch)["local"].detach())

    assert local(local_weight=4.0) == pytest.approx(4 * local(local_weight=1.0), rel=1e-5)
    assert local(taps=(2, 4)) == pytest.approx(local(taps=(2,)) + local(taps=(4,)), rel=1e-5)


def test_cutting_the_context_changes_nothing(anomalyclip):
    with torch.no_grad():
        cut, whole = (anomalyclip(truncate_context=yes).raw_texts() for yes in (True, False))
    assert torch.allclose(cut, whole, atol=1e-5), f"off by {(cut - whole).abs().max():.1e}"


def test_the_seed_draws_the_prompts(anomalyclip):
    one, same, other = anomalyclip(seed=1), anomalyclip(seed=1), anomalyclip(seed=2)
    assert torch.equal(one.ctx_normal, same.ctx_normal)
    assert torch.equal(one.deep_tokens, same.deep_tokens)
    assert not torch.equal(one.ctx_normal, other.ctx_normal)
    assert not torch.equal(one.ctx_normal, one.ctx_abnormal), "both prompts start the same"
    assert float(one.ctx_normal.detach().std()) == pytest.approx(0.02, rel=0.2)


# --- ensembles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "members", "ortho_weight"),
    [
        ({}, 1, 0.0),
        ({"ensemble": "seeds"}, 10, 0.0),
        ({"ensemble": "orthogonal"}, 10, 0.1),
        ({"ensemble": "orthogonal", "members": 3, "ortho_weight": 0.0}, 3, 0.0),
    ],
)
def test_members_and_weight_follow_the_ensemble(anomalyclip, settings, members, ortho_weight):
    config = anomalyclip(**settings).config
    assert (config.members, config.ortho_weight) == (members, ortho_weight)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"members": 3}, "members=3, ensemble=none; take --set ensemble=seeds or ensemble=orthogonal"),
        ({"ensemble": "seeds", "members": 0}, "members=0; expected 1 or more"),
        (
            {"ensemble": "seeds", "ortho_weight": 0.1},
            "ortho_weight=0.1, ensemble=seeds; take --set ensemble=orthogonal",
        ),
        ({"ensemble": "orthogonal", "ortho_weight": -1.0}, "ortho_weight=-1.0; expected 0 or more"),
        ({"taps": ()}, r"taps=\[\]; expected at least one block"),
    ],
)
def test_settings_that_no_run_can_have(anomalyclip, settings, said):
    with pytest.raises(UsageError, match=said):
        anomalyclip(**settings)


@ensembles
def test_an_ensemble_of_one_is_the_plain_method(anomalyclip, predict, learn, batch, ensemble):
    plain, one = anomalyclip(), anomalyclip(ensemble=ensemble, members=1)
    expected, found = predict(plain, batch), predict(one, batch)
    assert torch.allclose(found.score, expected.score, atol=1e-6), "scores differ"
    assert torch.allclose(found.map, expected.map, atol=1e-6), "maps differ"
    (terms, gradients), (own_terms, own) = learn(plain), learn(one)
    assert own_terms == pytest.approx(terms, rel=1e-5), "loss terms differ"
    for name in LEARNED:
        assert_close(own[name].view_as(gradients[name]), gradients[name], f"gradient of {name}")


@ensembles
@pytest.mark.parametrize("fidelity", ["paper", "official"])
def test_gradients_reach_every_member_and_nothing_else(anomalyclip, learn, ensemble, fidelity):
    method = anomalyclip(ensemble=ensemble, members=3, taps=(2, 4), fidelity=fidelity)
    _, gradients = learn(method)
    assert set(gradients) == set(LEARNED)
    several = LEARNED if ensemble == "seeds" else ("ctx_abnormal",)
    for name, gradient in gradients.items():
        assert gradient.isfinite().all(), f"{name}: a gradient is not finite"
        parts = gradient if name in several else gradient[None]
        assert len(parts) == (3 if name in several else 1)
        assert all(part.any() for part in parts), f"{name}: no gradient reaches one of the members"


def test_seed_members_are_plain_methods_of_seeds_of_their_own(anomalyclip, learn, predict, batch):
    method = anomalyclip(ensemble="seeds", members=3, seed=4, taps=(2, 4))
    alone = [anomalyclip(seed=seed, taps=(2, 4)) for seed in (12, 13, 14)]
    for i, single in enumerate(alone):
        for name in LEARNED:
            assert torch.equal(getattr(method, name)[i], getattr(single, name)), f"{name} of member {i}"
    assert not torch.equal(method.ctx_normal[0], method.ctx_normal[1]), "members start the same"
    found, expected = predict(method, batch), [predict(single, batch) for single in alone]
    assert torch.allclose(found.score, sum(e.score for e in expected) / 3, atol=1e-6), "not the mean of the scores"
    assert torch.allclose(found.map, sum(e.map for e in expected) / 3, atol=1e-5), "not the mean of the maps"
    terms, gradients = learn(method)
    trained = [learn(single) for single in alone]
    assert terms == pytest.approx({name: sum(t[name] for t, _ in trained) for name in terms}, rel=1e-5)
    for i, (_, own) in enumerate(trained):
        for name in LEARNED:
            assert_close(gradients[name][i], own[name], f"{name}: member {i} would not learn as it learns alone")


def test_seed_ensembles_of_two_runs_share_no_member(anomalyclip):
    drawn = [context for seed in (0, 1, 2) for context in anomalyclip(ensemble="seeds", seed=seed).ctx_normal]
    assert len({float(context.detach().sum()) for context in drawn}) == 30, "runs of three seeds share members"


def test_the_orthogonal_ensemble_reads_by_the_mean_of_its_abnormal_texts(anomalyclip, batch):
    method = anomalyclip(ensemble="orthogonal", members=3)
    assert (method.ctx_normal.shape, method.ctx_abnormal.shape) == ((12, 32), (3, 12, 32))
    with torch.no_grad():
        texts = method.raw_texts()
        pair = method.text_for(batch.samples)[0]
        assert torch.equal(method.prompts()[1:, 1:13], method.ctx_abnormal), "abnormal prompts share tokens"
    prototype = (texts[1] + texts[2] + texts[3]) / 3
    assert torch.allclose(pair[0], texts[0] / texts[0].norm(), atol=1e-6)
    assert torch.allclose(pair[1], prototype / prototype.norm(), atol=1e-6), "not the mean, normalised after"


def test_orthogonality_is_zero_for_orthogonal_and_one_for_parallel_texts(anomalyclip, learn, monkeypatch):
    def ortho(texts):
        method = anomalyclip(ensemble="orthogonal", members=3, ortho_weight=1.0)
        free = 0 * method.ctx_abnormal.sum()  # keeps the gradient alive behind the texts put in
        monkeypatch.setattr(method, "raw_texts", lambda: texts + free)
        return learn(method)[0]["ortho"]

    eye = torch.eye(48)
    assert ortho(eye[:4]) == pytest.approx(0, abs=1e-6), "orthogonal texts"
    assert ortho(torch.stack([eye[0], eye[1], 2 * eye[1], -3 * eye[1]])) == pytest.approx(3), "each of three pairs 1"
    assert ortho(torch.stack([eye[0], eye[1], eye[1], eye[0]])) == pytest.approx(1), "the normal text is in no pair"


def test_orthogonality_is_the_only_term_its_weight_moves(anomalyclip, learn):
    def terms(**settings):
        return learn(anomalyclip(ensemble="orthogonal", members=3, **settings))[0]

    whole, without, heavy = terms(), terms(ortho_weight=0.0), terms(ortho_weight=0.3)
    assert set(whole) - set(without) == {"ortho"}
    assert {name: whole[name] for name in without} == without, "the weight moved other terms"
    assert heavy["ortho"] == pytest.approx(3 * whole["ortho"], rel=1e-5)
    same = anomalyclip(ensemble="orthogonal", members=3)
    with torch.no_grad():
        same.ctx_abnormal.copy_(same.ctx_abnormal[:1].expand(3, -1, -1))
    assert learn(same)[0]["ortho"] == pytest.approx(0.1 * 3, rel=1e-5), "equal prompts: 0.1 for each of three pairs"


@ensembles
def test_checkpoints_hold_whole_ensembles(anomalyclip, predict, batch, mini, tmp_path, ensemble):
    method = anomalyclip(ensemble=ensemble, members=3)
    with torch.no_grad():
        method.ctx_abnormal.add_(0.05)
    expected = predict(method, batch)
    checkpoint.save(tmp_path / "one.safetensors", method, {})
    loaded, header = checkpoint.load(tmp_path / "one.safetensors", mini)
    assert (header.config["ensemble"], header.config["members"]) == (ensemble, 3)
    found = predict(loaded.eval(), batch)
    assert torch.equal(found.score, expected.score), "scores differ after loading"
    assert torch.equal(found.map, expected.map), "maps differ after loading"
