# pytest tests/methods/test_faprompt.py
"""What is special to FAPrompt; parity with the released code is in tests/golden."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from zsad_bench.backbones.load import architecture
from zsad_bench.errors import UsageError
from zsad_bench.methods.faprompt import FaPrompt, FaPromptConfig
from zsad_bench.types import Tap

DAP_ON_ANOMALYCLIP = {"compound": False, "n_prompts": 1, "n_normal": 12, "n_abnormal": 12}


@pytest.fixture
def faprompt(make):
    return lambda **settings: make("faprompt", **settings)


@pytest.fixture
def read(batch):
    """read(method): what it makes of the shared batch, without gradients."""

    def reading(method):
        with torch.no_grad():
            return method.read(method.encode(batch.images, batch.samples))

    return reading


@pytest.fixture
def terms(batch):
    """terms(method): its loss terms on the shared batch, as numbers."""

    def found(method):
        losses = method.losses(method.encode(batch.images, batch.samples), batch)
        return {name: float(value.detach()) for name, value in losses.items()}

    return found


def count_texts(monkeypatch, backbone) -> list[int]:
    """How many sequences each text call from now on encodes."""
    calls, encode = [], backbone.finish_tree

    def counted(rows, tree, *args, **kwargs):
        calls.append(len(tree))
        return encode(rows, tree, *args, **kwargs)

    monkeypatch.setattr(backbone, "finish_tree", counted)
    return calls


# --- configuration ----------------------------------------------------------------------------------------------------


def test_presets_set_what_paper_and_code_do_differently(faprompt):
    options = ("token_selection", "max_mix", "adapted_local_weight", "image_ce_weight", "image_focal_input")
    options += ("deep_token_cast",)
    paper, official, fixed = (
        {name: getattr(faprompt(fidelity=preset).config, name) for name in options}
        for preset in ("paper", "official", "official_fixed")
    )
    assert paper == dict(zip(options, ("topk", (0.5, 0.5), 1.0, 0.0, "probability", "none"), strict=True))
    assert official == dict(zip(options, ("first_k", (2 / 3, 1 / 3), 0.5, 1.0, "logits", "fp16"), strict=True))
    assert fixed == official | {"token_selection": "topk"}, "`official_fixed` is the code with the paper's patches"
    own = faprompt(fidelity="official", max_mix=(1.0, 0.0), image_ce_weight=0.25).config
    assert (own.max_mix, own.image_ce_weight) == ((1.0, 0.0), 0.25), "an option that is given wins over the preset"
    assert own.token_selection == "first_k"


def test_sizes_are_those_of_the_paper_on_its_backbone(faprompt):
    config = FaPrompt.resolve(FaPromptConfig(), architecture("ViT-L-14-336-quickgelu"))
    assert (config.first_vv_block, config.deep_depth, config.gaussian_sigma) == (6, 9, 10.0)
    method = faprompt()  # 4 visual and 3 text blocks, 48 px, text width 32, joint width 48
    shapes = {name: tuple(p.shape) for name, p in method.named_parameters() if not name.startswith("backbone.")}
    assert shapes == {
        "ctx_normal": (5, 32),
        "ctx_abnormal": (10, 2, 32),
        "deep_tokens": (1, 4, 32),
        "prior.fc1.weight": (30, 480),
        "prior.fc1.bias": (30,),
        "prior.fc2.weight": (32, 30),
        "prior.fc2.bias": (32,),
    }
    assert method.config.gaussian_sigma == pytest.approx(10 * 48 / 518)
    assert method.encoder_spec.taps == {Tap(4, 1)}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n_patches": 37}, "n_patches=37, an image of 48 px has 36"),
        ({"max_mix": (0.9, 0.2)}, "max_mix=.*sum to one"),
        ({"n_prompts": 0}, "n_prompts=0; expected 1 or more"),
        ({"n_normal": 1}, "n_normal=1; expected 2 or more"),
        ({"compound": False, "n_abnormal": 0}, "n_abnormal=0; expected 1 or more"),
        ({"prior_weight": -1.0}, "prior_weight=-1.0; expected 0 or more"),
    ],
)
def test_numbers_that_no_run_can_have(faprompt, settings, said):
    with pytest.raises(UsageError, match=said):
        faprompt(**settings)


# --- texts ------------------------------------------------------------------------------------------------------------


def test_the_name_of_the_class_changes_nothing(faprompt, predict, batch):
    method = faprompt()
    renamed = replace(batch, samples=[replace(s, category=batch.samples[1].category) for s in batch.samples])
    one, other = predict(method, batch), predict(method, renamed)
    assert torch.equal(one.score, other.score), "scores depend on the object's name"
    assert torch.equal(one.map, other.map), "maps depend on the object's name"


def test_static_texts_are_encoded_once_and_adapted_ones_together(faprompt, predict, batch, mini, monkeypatch):
    method = faprompt()
    method.freeze()
    calls = count_texts(monkeypatch, mini)
    predict(method, batch)
    predict(method, batch)
    assert calls == [1 + 10, 5 * 10, 5 * 10], f"sequences of each text call of two batches of five: {calls}"
    method.train()
    method.eval()
    calls.clear()
    predict(method, batch)
    assert calls == [11, 50], "after training may have moved something, the static texts are encoded anew"
    calls.clear()
    method.losses(method.encode(batch.images, batch.samples), batch)
    assert calls == [11, 50], "with gradients on, nothing kept is used"


def test_abnormal_prompts_share_the_normal_tokens_and_the_shift(faprompt):
    method = faprompt()
    with torch.no_grad():
        normal, abnormal = method.normal_prompt()[0], method.abnormal_prompts()
        assert torch.equal(abnormal[:, :6], normal[:6].expand(10, -1, -1)), "start and normal tokens are not shared"
        assert torch.equal(abnormal[:, 6:8], method.ctx_abnormal)
        assert not torch.equal(abnormal[0], abnormal[1]), "the prompts do not differ in their own tokens"
        shift = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
        moved = method.abnormal_prompts(shift).unflatten(0, (3, 10)) - abnormal
    assert torch.allclose(moved[:, :, 6:8], shift[:, None, None].expand(-1, 10, 2, -1), atol=1e-6), "shifts got mixed"
    assert not moved[:, :, :6].any(), "the shift reached the normal tokens"
    assert not moved[:, :, 8:].any(), "the shift reached the words"


def test_one_call_for_a_batch_is_one_call_an_image(faprompt):
    method = faprompt()
    shift = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = method.adapted_texts(shift)
        alone = torch.cat([method.adapted_texts(shift[i : i + 1]) for i in range(3)])
        unmoved = method.adapted_texts(torch.zeros(1, 32))[0]
        static = method.static_texts()[1:]
    assert torch.allclose(together, alone, atol=1e-5), f"off by {(together - alone).abs().max():.1e}"
    assert torch.allclose(unmoved, static, atol=1e-5), "a prior of zero gives the static texts"


def test_cutting_the_context_changes_nothing(faprompt):
    with torch.no_grad():
        cut, whole = (faprompt(truncate_context=yes).static_texts() for yes in (True, False))
    assert torch.allclose(cut, whole, atol=1e-5), f"off by {(cut - whole).abs().max():.1e}"


# --- selection and prior ----------------------------------------------------------------------------------------------


def test_patches_are_taken_by_rank_or_by_place(faprompt):
    abnormal = torch.rand(2, 36, generator=torch.Generator().manual_seed(0))
    top, first = (faprompt(n_patches=4, token_selection=how).select(abnormal) for how in ("topk", "first_k"))
    for row, chosen in zip(abnormal, top, strict=True):
        ranked = sorted(range(36), key=lambda i: -row[i])
        assert chosen.tolist() == ranked[:4], "not the most abnormal patches, most abnormal first"
    assert first.tolist() == [[0, 1, 2, 3]] * 2, "the released code takes the first patches of every image"


def test_the_prior_sees_unit_features_in_the_order_of_rank(faprompt, read, batch):
    method = faprompt(n_patches=3)
    reading, seen = read(method), []
    method.prior.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    read(method)
    features = method.encode(batch.images, batch.samples)
    for i, row in enumerate(seen[0].unflatten(1, (3, 48))):
        order = reading.probs[0][i, :, 1].argsort(descending=True)[:3]
        patches = features.patches(Tap(4, 1))[i, order]
        expected = patches / patches.norm(dim=-1, keepdim=True)
        assert torch.allclose(row, expected, atol=1e-6), f"image {i}: another order, or not of length one"


def test_the_prior_can_come_from_the_image(faprompt, read, batch):
    method = faprompt(prior_from="image")
    assert method.prior.fc1.weight.shape == (48 // 16, 48)
    image = method.encode(batch.images, batch.samples).pooled("cls_raw")
    with torch.no_grad():
        expected = method.prior(image / image.norm(dim=-1, keepdim=True))
    assert torch.allclose(read(method).shift, expected, atol=1e-6), "not the prior of the normalised global feature"


# --- scores and maps --------------------------------------------------------------------------------------------------


def test_score_and_map_by_hand(faprompt, read, predict, batch):
    method = faprompt(gaussian_sigma=0.0)
    reading, found = read(method), predict(method, batch)
    image = torch.exp(reading.logits[:, 1]) / torch.exp(reading.logits).sum(1)
    static, adapted = (p[..., 1].max(1).values for p in reading.probs)
    assert torch.allclose(found.score, (image + (static + adapted) / 2) / 2, atol=1e-6), "paper, Eq. 9"
    official = predict(faprompt(max_mix=(2 / 3, 1 / 3)), batch).score
    assert torch.allclose(official, (image + (2 * static + adapted) / 3) / 2, atol=1e-6), "the released mixing"
    both = (reading.probs[0][..., 1] + reading.probs[1][..., 1]) / 2
    grid = both.unflatten(1, (6, 6))[:, None]
    expected = torch.nn.functional.interpolate(grid, size=(48, 48), mode="bilinear")[:, 0]
    assert torch.allclose(found.map, expected, atol=1e-5), "the map is not the mean of both passes"


def test_without_a_prior_the_static_pass_is_all(faprompt, read, predict, terms, batch):
    method = faprompt(prior_from="none")
    assert [name for name, _ in method.named_parameters() if name.startswith("prior")] == []
    reading, found = read(method), predict(method, batch)
    assert reading.shift is None
    assert len(reading.probs) == 1
    image = reading.logits.softmax(-1)[:, 1]
    assert torch.allclose(found.score, (image + reading.probs[0][..., 1].amax(1)) / 2, atol=1e-6)
    with torch.no_grad():
        features = method.encode(batch.images, batch.samples)
        pair = method.text_for(batch.samples)
        own = features.pooled("cls_raw")
        logits = torch.einsum("bd,bsd->bs", own / own.norm(dim=-1, keepdim=True), pair) / 0.07
    assert torch.allclose(reading.logits, logits, atol=1e-5), "its logits are those of the static pair"
    assert set(terms(method)) == {"static", "focal", "ortho"}


def test_best_matched_takes_the_nearest_prompt(faprompt, read, batch):
    method = faprompt(match="best", prior_from="none")
    reading = read(method)
    texts = reading.texts / reading.texts.norm(dim=-1, keepdim=True)
    patches = method.encode(batch.images, batch.samples).patches(Tap(4, 1))
    cosines = (patches / patches.norm(dim=-1, keepdim=True)) @ texts.T
    pairs = torch.stack([cosines[..., 0], cosines[..., 1:].max(-1).values], -1)
    assert torch.allclose(reading.probs[0], (pairs / 0.07).softmax(-1), atol=1e-5)
    single, best = (read(faprompt(match=how, n_prompts=1)).score for how in ("prototype", "best"))
    assert torch.allclose(single, best, atol=1e-6), "of one prompt, the nearest and the mean are the same"


# --- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "gone"),
    [
        ({"ortho_weight": 0.0}, {"ortho"}),
        ({"n_prompts": 1}, {"ortho"}),
        ({"prior_weight": 0.0}, {"prior"}),
        ({"adapted_local_weight": 0.0}, {"adapted"}),
        ({"image_ce_weight": 0.0}, {"image"}),
        ({"prior_from": "none"}, {"adapted", "prior"}),
    ],
)
def test_a_switch_removes_its_terms_and_no_other(faprompt, terms, setting, gone):
    whole, less = terms(faprompt(image_ce_weight=1.0)), terms(faprompt(**{"image_ce_weight": 1.0, **setting}))
    assert set(whole) - set(less) == gone, f"{setting} took away {set(whole) - set(less)}"
    if "n_prompts" not in setting and "prior_from" not in setting:  # these two read the image otherwise
        assert less == {name: whole[name] for name in less}, f"{setting} changed the terms it leaves"


def test_only_normal_images_silence_the_prior(faprompt, read, terms, batch):
    shift = read(faprompt()).shift
    expected = sum(float(w.square().mean()) for w, label in zip(shift, batch.labels, strict=True) if label == 0)
    assert terms(faprompt())["prior"] == pytest.approx(expected, rel=1e-5)
    summed = terms(faprompt(prior_reduction="sum"))["prior"]
    assert summed == pytest.approx(32 * expected, rel=1e-5), "sum over the 32 entries instead of their mean"
    method = faprompt()
    anomalous = replace(batch, labels=torch.ones_like(batch.labels))
    found = method.losses(method.encode(batch.images, batch.samples), anomalous)["prior"]
    assert float(found.detach()) == 0, "a batch without a normal image has no prior loss"


def test_orthogonality_counts_every_pair_once(faprompt, terms):
    method = faprompt(n_prompts=3)
    with torch.no_grad():
        a = method.static_texts()[1:].double()
    cosines = [abs(float(torch.dot(a[i], a[j]) / a[i].norm() / a[j].norm())) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert terms(method)["ortho"] == pytest.approx(0.1 * sum(cosines), rel=1e-4)
    mean = terms(faprompt(n_prompts=3, ortho_reduction="mean"))["ortho"]
    assert mean == pytest.approx(0.1 * sum(cosines) / 3, rel=1e-4)


def test_the_released_image_loss_takes_a_probability_for_a_logit(faprompt, read, terms, batch):
    score = read(faprompt()).score.double()
    for how, p in {"probability": score, "logits": 1 / (1 + (-score).exp())}.items():
        right = torch.where(batch.labels == 1, p, 1 - p)
        expected = float(((1 - right) ** 2 * -right.log()).mean())
        assert terms(faprompt(image_focal_input=how))["focal"] == pytest.approx(expected, rel=1e-4), how


# --- the paper's ablations --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"prior_from": "none"}, id="table3-cap"),
        pytest.param({"prior_from": "none", "ortho_weight": 0.0}, id="table3-cap-without-ortho"),
        pytest.param(DAP_ON_ANOMALYCLIP, id="table3-dap"),
        pytest.param(DAP_ON_ANOMALYCLIP | {"prior_weight": 0.0}, id="table3-dap-without-prior-loss"),
        pytest.param(DAP_ON_ANOMALYCLIP | {"prior_from": "image"}, id="table4-second-row"),
        pytest.param({"prior_from": "image"}, id="table4-third-row"),
        pytest.param({"match": "best"}, id="table5-best-matched"),
        pytest.param({"n_prompts": 15, "n_patches": 1}, id="most-prompts-fewest-patches"),
        pytest.param({"n_prompts": 1, "n_patches": 15}, id="fewest-prompts-most-patches"),
    ],
)
def test_ablations_predict_and_learn(faprompt, predict, batch, settings):
    method = faprompt(**settings)
    (stage,) = method.stages()
    method.begin_stage(stage)
    method.train()
    losses = method.losses(method.encode(batch.images, batch.samples), batch)
    sum(losses.values()).backward()
    silent = [n for n, p in method.trainables(stage).items() if p.grad is None]
    assert not silent, f"no gradient reaches {silent}"
    found = predict(method.eval(), batch)
    assert ((found.score > 0) & (found.score < 1)).all(), "the score is a mean of probabilities"
    assert ((found.map >= 0) & (found.map <= 1 + 1e-6)).all(), "the map is a mean of probabilities"


def test_unshared_prompts_leave_the_normal_tokens_out(faprompt):
    method = faprompt(compound=False, n_abnormal=7)
    with torch.no_grad():
        abnormal = method.abnormal_prompts()
        assert torch.equal(abnormal[:, 1:8], method.ctx_abnormal)
        before = method.static_texts()
        method.clear_text_cache()
        method.ctx_normal.add_(torch.linspace(-1, 1, 32))  # one number for all entries is what a LayerNorm takes away
        after = method.static_texts()
    assert torch.equal(before[1:], after[1:]), "abnormal texts depend on the normal prompt's tokens"
    assert not torch.allclose(before[0], after[0], atol=1e-2)
