# pytest tests/methods/test_coop.py
"""What is special to CoOp, and the training it shares with CoCoOp; parity with the released code is in tests/golden."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from lightning import Trainer

from tests.float32 import assert_close
from zsad_bench.errors import UsageError
from zsad_bench.methods._context import warm_cosine
from zsad_bench.types import Category, Tap

NUT = Category("made_up", "metal_nut", "metal nut", "object", "industrial")


@pytest.fixture
def coop(make):
    return lambda **settings: make("coop", **settings)


def test_one_context_for_both_states_and_all_categories(coop):
    shared, specific = coop(), coop(class_specific=True)
    assert shared.ctx.shape == (16, 32), "16 tokens of the text width, all there is to learn"
    assert list(shared.own_state()) == ["ctx"]
    assert specific.ctx.shape == (2, 16, 32)
    assert not torch.equal(specific.ctx[0], specific.ctx[1]), "both states start the same"
    assert float(shared.ctx.detach().std()) == pytest.approx(0.02, rel=0.2)


def test_context_from_words(coop, make, mini, batch, predict):
    """With the embeddings of its words as context, a prompt is the sentence itself."""
    method = coop(ctx_init="a photo of a")
    assert method.config.n_ctx == 4, "as many tokens as there are words"
    with torch.no_grad():
        found = method.raw_texts([NUT])[0]
        expected = mini.encode_prompts(["a photo of a normal metal nut.", "a photo of a anomalous metal nut."])
    assert torch.allclose(found, expected, atol=1e-5), f"off by {(found - expected).abs().max():.1e}"
    words = {"normal_prompt": "a photo of a normal {}.", "anomalous_prompt": "a photo of a anomalous {}."}
    clip = make("clip", temperature=method.config.temperature, align_corners=False, **words)
    assert torch.allclose(predict(method, batch).map, predict(clip, batch).map, atol=1e-5), "untrained, it is CLIP"
    with pytest.raises(UsageError, match="n_ctx=5, but ctx_init 'a photo of a' has 4 tokens"):
        coop(ctx_init="a photo of a", n_ctx=5)


@pytest.mark.parametrize(
    ("position", "sentence"),
    [("end", "a fine photo of NAME."), ("middle", "a fine NAME photo of."), ("front", "NAME a fine photo of.")],
)
def test_the_name_stands_where_it_is_told(coop, mini, position, sentence):
    """`anomalous` is three tokens and `normal` one, so the two prompts are cut at different rows."""
    method = coop(ctx_init="a fine photo of", class_token_position=position)
    with torch.no_grad():
        found = method.raw_texts([NUT])[0]
        expected = mini.encode_prompts([sentence.replace("NAME", f"{s} metal nut") for s in ("normal", "anomalous")])
    assert torch.allclose(found, expected, atol=1e-5), f"not the sentence '{sentence}'"


def test_every_category_has_its_own_pair_unless_told_otherwise(coop):
    carpet = replace(NUT, name="carpet", prompt_name="carpet")
    with torch.no_grad():
        named, agnostic = coop().text_features([NUT, carpet]), coop(class_names="object").text_features([NUT, carpet])
    assert not torch.allclose(named[0], named[1], atol=1e-4), "prompts do not name the category"
    assert_close(agnostic[0], agnostic[1], "object-agnostic prompts depend on the category")


def test_the_temperature_is_the_backbones_own(coop, mini):
    assert coop().config.temperature == pytest.approx(1 / math.exp(float(mini.model.logit_scale)))
    assert coop(temperature=0.07).config.temperature == 0.07


def test_local_features_are_plain_or_vv(coop):
    assert coop().encoder_spec.taps == {Tap(4, 0)}, "the published maps come from the plain path"
    assert coop(local_features="vv").encoder_spec.taps == {Tap(4, 1)}, "V-V from block 6 of 24, scaled to 4"
    with pytest.raises(UsageError, match="local_features=original with first_vv_block=2"):
        coop(first_vv_block=2)


def test_masks_teach_only_when_asked(coop, batch):
    def terms(data, **settings):
        method = coop(**settings)
        return method.losses(method.encode(data.images, data.samples), data)

    unmasked = replace(batch, masks=None)
    assert set(terms(unmasked)) == {"image"}, "image labels are enough, also for image-level datasets"
    one, four = (float(terms(batch, local_weight=w)["local"].detach()) for w in (1.0, 4.0))
    assert four == pytest.approx(4 * one, rel=1e-5)
    with pytest.raises(UsageError, match="CoOp learns from masks"):
        coop(local_weight=1.0).training_step(unmasked, 0)


def test_learning_rate_of_the_published_schedule():
    """One constant epoch, then a cosine that starts at the full rate and is stepped once per epoch."""
    rates = [warm_cosine(epoch, epochs=50, lr=0.002, warmup_lr=1e-5) for epoch in range(50)]
    assert rates[0] == 1e-5
    assert rates[1] == 0.002
    assert rates[26] == pytest.approx(0.001), "half of it after half of the epochs"
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert 0 < rates[-1] < 1e-5


def test_a_trainer_follows_the_schedule(coop, batch):
    rates = []

    class Watched(type(coop())):
        def on_train_batch_start(self, batch, batch_idx):
            rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    method = Watched(coop().backbone, coop(epochs=3).config)
    method.begin_stage(method.stages()[0])
    before = method.ctx.detach().clone()
    trainer = Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(method, train_dataloaders=torch.utils.data.DataLoader([batch, batch], batch_size=None))
    assert rates == [warm_cosine(epoch, 3, 0.002, 1e-5) for epoch in (0, 0, 1, 1, 2, 2)]
    assert not torch.equal(method.ctx, before), "three epochs moved nothing"


def test_cutting_the_context_changes_nothing(coop):
    with torch.no_grad():
        cut, whole = (coop(truncate_context=yes).raw_texts([NUT]) for yes in (True, False))
    assert torch.allclose(cut, whole, atol=1e-5), f"off by {(cut - whole).abs().max():.1e}"
