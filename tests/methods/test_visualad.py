# pytest tests/methods/test_visualad.py
"""What is special to VisualAD; parity with the released code is in tests/golden."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.backbones import miniatures
from tests.float32 import assert_close
from tests.methods.conftest import learn
from tests.miniature import random_batch
from tests.official import visualad_file
from zsad_bench.backbones.load import architecture
from zsad_bench.errors import BackboneError, CheckpointError, UsageError
from zsad_bench.methods.visualad import CrossAttention, VisualAd, VisualAdConfig
from zsad_bench.types import Category, Tap


@pytest.fixture
def visualad(make):
    return lambda **settings: make("visualad", **settings)


@pytest.fixture(scope="module")
def dinov2():
    """Two random miniatures: without registers, and with four of them."""
    return miniatures.dinov2()


def auxiliary(*datasets: str) -> list[Category]:
    return [Category(name, "nut", "nut", "object", "industrial") for name in datasets]


def in_front(backbone, method: VisualAd, images: Tensor, place) -> Tensor:
    """(B,T,C) rows behind the last block, with the placed tokens in front as the released code has them."""
    tower = backbone.vision
    tokens = place(torch.stack([method.anomaly_token, method.normal_token]))
    rows = torch.cat([tokens.expand(len(images), -1, -1), tower.embed(images, "bilinear")], 1)
    for block in range(1, tower.n_blocks + 1):
        rows, _ = tower.block(block, rows, False, "own")
    return rows


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_on_clip_tokens_stand_where_the_class_token_does(visualad, mini_clip, batch):
    method, visual = visualad(taps=(1, 2)), mini_clip.visual
    with torch.no_grad():
        rows = in_front(method.backbone, method, batch.images,
                        lambda tokens: visual.ln_pre(tokens + visual.positional_embedding[0]))  # fmt: skip
        features = method.encode(batch.images, batch.samples)
    assert_close(features.extra_rows, rows[:, :2], "tokens behind the last block, which is not among the taps")
    assert_close(features.rows[Tap(4, raw=True)], rows[:, 2:], "class token and patches")
    assert method.remark(batch.samples[0].category) == ""


@pytest.mark.parametrize("registers", [False, True])
def test_on_dinov2_where_its_class_token_does(make, predict, dinov2, registers):
    """With registers timm folds the class token's position into it, and there is none for other tokens."""
    backbone, batch = dinov2[registers], random_batch(84)
    model, settings = backbone.model, {"image_size": 84, "gaussian_sigma": 0.0}
    method = make("visualad", backbone=backbone, **settings)
    position = 0 if registers else model.pos_embed[0, 0]
    with torch.no_grad():
        rows = in_front(backbone, method, batch.images, lambda tokens: tokens + position)
        tokens, patches = model.norm(rows[:, :2]), model.norm(rows[:, 2 + backbone.vision.n_prefix :])
        at_last = method.sca[-1](tokens, patches)
        cosines = [torch.cosine_similarity(method.saf[-1](patches), at_last[:, [i]], dim=-1) for i in (0, 1)]
        features = method.encode(batch.images, batch.samples)
        scores = method.read(features, "pretrained").scores[-1]
    assert_close(features.extra_rows, rows[:, :2], "tokens behind the last block")
    torch.testing.assert_close(scores, cosines[0] - cosines[1], rtol=0, atol=2e-6)  # cosines are up to one
    learn(method, 0, batch)
    assert predict(method, batch).map.shape == (5, 84, 84)
    assert method.remark(batch.samples[0].category) == "settings of our choice outside CLIP"


def test_a_tower_without_a_place_for_them_is_refused(mini):
    backbone = copy.copy(mini)
    backbone.vision = copy.copy(mini.vision)
    backbone.vision.paths = frozenset({"plain"})
    with pytest.raises(BackboneError, match="VisualAD needs a place for tokens beside its class token, and backbone"):
        VisualAd(backbone)


def test_no_feature_can_be_stored(visualad):
    """What is learned enters block 1, so an earlier epoch's features, or another method's, are none of its own."""
    method = visualad()
    assert method.first_edit == 1
    assert method.encoder.kept(edited=True) is None


def test_of_the_released_sizes_it_trains_as_many_numbers():
    """The official count, without the bias of the key norm of each of four blocks, which has no effect."""
    method = VisualAd(architecture("ViT-L-14-336-quickgelu"))
    trained = sum(p.numel() for p in method.trainables(method.stages()[0]).values())
    assert trained == 31_522_836 - 4 * 1024
    assert (method.config.image_size, method.config.taps) == (518, (6, 12, 18, 24))
    assert float(method.anomaly_token.detach().std()) == pytest.approx(0.1 * 1024**-0.5, rel=0.1)


# --- parts ------------------------------------------------------------------------------------------------------------


def test_each_token_reads_with_dropout_of_its_own():
    torch.manual_seed(0)
    sca = CrossAttention(16, 2, 9, 0.5)
    with torch.no_grad():
        for parameter in sca.parameters():
            parameter.normal_()
        patches, token = torch.randn(1, 9, 16), torch.randn(1, 1, 16)
        both = sca.train()(token.expand(-1, 2, -1), patches)
        assert not torch.equal(both[:, 0], both[:, 1])
        both = sca.eval()(token.expand(-1, 2, -1), patches)
        assert torch.equal(both[:, 0], both[:, 1])
        assert_close(both[:, :1], sca(token, patches), "a token by itself")


def test_the_final_norm_at_test(visualad, predict, batch):
    """It begins as the backbone's; once it has moved, the released test still takes the backbone's."""
    paper, official = visualad(), visualad(fidelity="official")
    assert (paper.config.test_ln_post, official.config.test_ln_post) == ("trained", "pretrained")
    assert torch.equal(predict(paper, batch).map, predict(official, batch).map)
    for method in (paper, official):
        with torch.no_grad():
            method.ln_post.weight.mul_(torch.linspace(0.5, 2, 64))
    before = predict(visualad(), batch)
    assert torch.equal(predict(official, batch).map, before.map)
    assert not torch.allclose(predict(paper, batch).map, before.map, atol=1e-3)


def test_ablations_have_fewer_parameters_and_start_alike(visualad):
    whole = visualad().own_state()
    for part in ("sca", "saf"):
        state = visualad(**{part: False}).own_state()
        assert whole.keys() - state.keys() == {name for name in whole if name.startswith(f"{part}.")}
    without = visualad(sca=False).own_state()
    assert all(torch.equal(value, whole[name]) for name, value in without.items())


# --- training ---------------------------------------------------------------------------------------------------------


def test_parallel_tokens_cost_one_and_a_half(visualad, batch):
    method = visualad(sca=False)
    features = method.encode(batch.images, batch.samples)
    for angle, expected in ((1.0, 1.5), (-1.0, 0.0)):
        rows = features.extra_rows.clone()
        rows[:, 1] = angle * (rows[:, 0] - rows[:, 0].mean(-1, keepdim=True)) + rows[:, 0].mean(-1, keepdim=True)
        with torch.no_grad():
            method.ln_post.bias.zero_()  # so that opposite rows stay opposite
            terms = method.losses(replace(features, extra_rows=rows), batch)
        assert float(terms["tokens"]) == pytest.approx(expected, abs=1e-5)


def test_the_rate_of_the_tokens_falls_from_epoch_to_epoch(visualad):
    method = visualad()
    for datasets, epochs in (((), 1), (("visa",), 1), (("mvtec",), 2), (("visa", "mvtec"), 2)):
        method.begin_training(auxiliary(*datasets))
        assert method.stages()[0].epochs == epochs, datasets
    stage = method.stages()[0]
    method.begin_stage(stage)
    optimizer = method.optimizer_for(stage)
    scheduler, rates = stage.scheduler(optimizer, stage.epochs), []
    for _ in range(stage.epochs):
        rates += [group["lr"] for group in optimizer.param_groups]
        optimizer.step()
        scheduler.step()
    rates += [group["lr"] for group in optimizer.param_groups]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 5.5e-4, 5.5e-4, 1e-4, 1e-4, 1e-4, 1e-4])


def test_each_token_is_clipped_by_itself_and_nothing_else(visualad, monkeypatch):
    method, asked = visualad(), []
    monkeypatch.setattr(method, "clip_gradients", lambda *options: asked.append(options[1:]))
    method.begin_stage(method.stages()[0])
    for parameter in method.own_parameters().values():
        parameter.grad = torch.ones_like(parameter)
    method.normal_token.grad.mul_(1e-3)
    method.configure_gradient_clipping(method.optimizer_for(method.stage), 5.0, "norm")
    assert float(method.anomaly_token.grad.norm()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(method.normal_token.grad, torch.full((64,), 1e-3)), "shorter than one already"
    assert all(p.grad.eq(1).all() for name, p in method.own_parameters().items() if not name.endswith("_token"))
    assert asked == [(5.0, "norm")], "what the Trainer was told follows"


def test_recomputed_blocks_give_the_same_gradients(visualad, batch):
    found = []
    for checkpoint_blocks in (False, True):
        method = visualad(checkpoint_blocks=checkpoint_blocks, dropout=0.0)
        assert "checkpoint_blocks" not in method.resolved_config()
        method.begin_stage(method.stages()[0])
        torch.stack(list(method.losses(method.encode(batch.images, batch.samples), batch).values())).sum().backward()
        found.append({name: p.grad for name, p in method.own_parameters().items()})
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], rtol=0, atol=1e-5 * float(gradient.abs().max())), name


# --- released checkpoints ---------------------------------------------------------------------------------------------


def test_what_a_released_file_decides(mini):
    """Blocks, anchors and positions; tokens may have axes in front, whose number is not known."""
    form = VisualAd.official
    state = visualad_file(64, blocks=(2, 4), anchors=3, positions=100)
    overrides, tensors = form.read(state, mini)
    assert overrides == {"fidelity": "official", "taps": [2, 4], "n_anchors": 3, "n_positions": 100}
    assert torch.equal(tensors["sca.1.k_norm.weight"], state["cross_attn.layer_attentions.layer_4.k_norm.weight"])
    assert torch.equal(tensors["saf.0.3.bias"], state["layer_transforms.layer_2.mlp.3.bias"])
    for name in ("anomaly_token", "normal_token"):
        state[name] = state[name][None, None]
    _, again = form.read(state, mini)
    assert torch.equal(again["normal_token"], tensors["normal_token"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("ln_post_bias"), r"ln_post_bias: found nothing, expected \(64,\)"),
        (lambda s: s.pop("layer_transforms.layer_2.mlp.3.bias"), r"layer_2.mlp.3.bias: found nothing"),
        (lambda s: s.pop("cross_attn.layer_attentions.layer_1.k_norm.bias"), r"layer_1.k_norm.bias: found nothing"),
        (lambda s: s.update({"layer_transforms.layer_9.mlp.0.bias": torch.zeros(64)}),
         r"layer_9.mlp.0.bias: found block 9, expected 4 or less, the blocks of mini"),
        (lambda s: s.update(normal_token=torch.zeros(2, 64)), r"normal_token: found \(2, 64\), expected \(1, 64\)"),
    ],
)  # fmt: skip
def test_a_released_file_that_is_not_as_it_should_be(mini, change, said):
    state = visualad_file(64)
    change(state)
    with pytest.raises(CheckpointError, match=said):
        VisualAd.official.read(state, mini)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_positions": 30}, "image_size=48 makes 36 patches, and n_positions=30 of them .* image_size=40 or less"),
        ({"taps": ()}, r"taps=\[\]; expected one block or more"),
        ({"taps": (2, 2)}, r"taps=\[2, 2\]; expected one block or more, each once"),
        ({"top_share": 1.5}, "top_share=1.5; expected a share up to 1"),
        ({"dropout": 1.0}, "dropout=1.0; expected a share below 1"),
        ({"lr": 1e-5}, r"lr_floor=0.0001, but the lowest learning rate is 1e-05, .* take --set lr_floor=1e-05 or less"),
        ({"n_anchors": 0}, "n_anchors=0; expected 1 or more"),
    ],
)
def test_what_it_refuses(visualad, settings, message):
    with pytest.raises(UsageError, match=f"VisualAD: {message}"):
        visualad(**settings)


def test_sizes_of_the_released_positions(mini):
    """39 x 39 patches are the most; without SCA there are no positions, and no limit."""
    side = mini.vision.patch_size
    VisualAd(mini, VisualAdConfig(image_size=39 * side))
    with pytest.raises(UsageError, match=rf"1600 patches.*image_size={39 * side} or less"):
        VisualAd(mini, VisualAdConfig(image_size=40 * side))
    VisualAd(mini, VisualAdConfig(image_size=40 * side, sca=False))
