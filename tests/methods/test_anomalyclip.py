# pytest tests/methods/test_anomalyclip.py
"""What is special to AnomalyCLIP; parity with the released code is in tests/golden."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from zsad_bench.backbones.clip import Backbone
from zsad_bench.errors import BackboneError
from zsad_bench.methods.anomalyclip import AnomalyClip, AnomalyClipConfig
from zsad_bench.types import Tap


@pytest.fixture
def anomalyclip(make):
    return lambda **settings: make("anomalyclip", **settings)


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
    large = SimpleNamespace(n_blocks=24, n_text_blocks=12)
    large.scale_block, large.scale_text_block = (
        lambda k: Backbone.scale_block(large, k),
        lambda k: Backbone.scale_text_block(large, k),
    )
    config = AnomalyClip.resolve(AnomalyClipConfig(), large)
    assert (config.taps, config.first_vv_block, config.deep_depth) == ((24,), 6, 9), "ViT-L has the paper's numbers"
    assert config.gaussian_sigma == 4.0


def test_block_numbers_that_are_given_stay(anomalyclip):
    method = anomalyclip(taps=(2, 4), first_vv_block=3, deep_depth=3, gaussian_sigma=1.5)
    config = method.config
    assert (config.taps, config.first_vv_block, config.deep_depth) == ((2, 4), 3, 3)
    assert config.gaussian_sigma == 1.5
    assert method.deep_tokens.shape == (2, 4, 32), "one matrix in front of each of blocks 2..3"
    assert method.encoder.taps == {Tap(2, 3), Tap(4, 3)}


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
        assert torch.equal(official.text_features(), explicit.text_features()), "the preset is that one option"
        difference = (official.text_features() - paper.text_features()).abs().max()
        assert 0 < difference < 1e-2, f"rounding to fp16 moved text features by {difference:.1e}"
        paper.deep_tokens.copy_(paper.deep_tokens.half().float())
        assert torch.equal(official.text_features(), paper.text_features()), "rounding is all that the cast does"
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
        cut, whole = (anomalyclip(truncate_context=yes).text_features() for yes in (True, False))
    assert torch.allclose(cut, whole, atol=1e-5), f"off by {(cut - whole).abs().max():.1e}"


def test_the_seed_draws_the_prompts(anomalyclip):
    one, same, other = anomalyclip(seed=1), anomalyclip(seed=1), anomalyclip(seed=2)
    assert torch.equal(one.ctx_normal, same.ctx_normal)
    assert torch.equal(one.deep_tokens, same.deep_tokens)
    assert not torch.equal(one.ctx_normal, other.ctx_normal)
    assert not torch.equal(one.ctx_normal, one.ctx_abnormal), "both prompts start the same"
    assert float(one.ctx_normal.detach().std()) == pytest.approx(0.02, rel=0.2)
