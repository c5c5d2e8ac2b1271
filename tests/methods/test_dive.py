# pytest tests/methods/test_dive.py
"""What is special to DIVE; parity with an independent reference of its specification is in tests/golden."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import product

import pytest
import torch

from zsad_bench.backbones.families._open_clip import build_model, from_model
from zsad_bench.backbones.load import architecture
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.losses import squared_cosine
from zsad_bench.methods.dive import Dive, DiveConfig
from zsad_bench.types import Tap

COMBINATIONS = [
    dict(zip(("disentangle", "shallow", "deep"), on, strict=True)) for on in product((True, False), repeat=3)
]


@pytest.fixture
def dive(make):
    return lambda **settings: make("dive", **settings)


def own(method: Dive) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in method.named_parameters() if not name.startswith("backbone.")}


def gradients(method: Dive, batch, *terms: str) -> dict[str, torch.Tensor]:
    """Gradients of some loss terms, or of all; parameters that no gradient reached are left out."""
    method.begin_stage(method.stages()[0])
    losses = method.losses(method.encode(batch.images, batch.samples), batch)
    sum(losses[term] for term in terms or losses).backward()
    return {name: p.grad for name, p in method.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.fixture(scope="module")
def large():
    """ViT-L/14-336 without its weights."""
    return architecture("ViT-L-14-336-quickgelu")


# --- the encoder ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [{"gamma": 0.0, "n_visual": 0}, {"deep": False, "shallow": False}])
def test_without_injections_the_encoder_is_plain_clip(dive, mini, mini_clip, batch, off):
    method = dive(**off)
    with torch.no_grad():
        found = method.encode(batch.images, batch.samples)
        plain = mini.encode_image(batch.images, method.encoder_spec)
        native = dive(**off, image_size=32).encode(batch.images[:, :, :32, :32], batch.samples)
        expected = mini_clip.encode_image(batch.images[:, :, :32, :32])
    assert torch.allclose(found.pooled("cls"), plain.pooled("cls"), atol=1e-5), "global feature"
    assert torch.allclose(found.rows[Tap(4)], plain.rows[Tap(4)], atol=1e-5), "patches"
    assert torch.allclose(native.pooled("cls"), expected, atol=1e-5), "open_clip itself says otherwise"


def test_injections_change_patches_before_their_block(dive, mini, batch):
    with torch.no_grad():
        plain, deep, shallow = (
            dive(**off).encode(batch.images, batch.samples)
            for off in ({"deep": False, "shallow": False}, {"shallow": False}, {"deep": False})
        )
    for features, what in ((deep, "deep"), (shallow, "shallow")):
        assert not torch.allclose(features.patches(Tap(4)), plain.patches(Tap(4)), atol=1e-4), what
        assert not torch.allclose(features.pooled("cls"), plain.pooled("cls"), atol=1e-5), f"{what}: global unmoved"
    assert deep.rows[Tap(4)].shape == shallow.rows[Tap(4)].shape == (5, 37, 48), (
        "visual prompts are dropped at the output"
    )
    assert shallow.extra_rows.shape == (5, 4, 64), "h visual prompts pass through"


def test_visual_prompts_are_the_first_rows_of_the_semantic_context(dive):
    method = dive(n_visual=2)
    expected = method.ctx_semantic[:2] @ method.shallow.weight.T + method.shallow.bias
    assert torch.allclose(method.visual_prompts(), expected, atol=1e-7)


def test_patches_can_come_from_the_v_v_path(dive, predict, batch):
    plain, vv = dive(), dive(patch_attention="vv", first_vv_block=2)
    assert vv.encoder_spec.taps == {Tap(4, 2)}
    one, other = predict(plain, batch), predict(vv, batch)
    assert torch.equal(one.score, other.score), "the score does not look at patches"
    assert not torch.allclose(one.map, other.map, atol=1e-5)


# --- the attention of the deep injection ------------------------------------------------------------------------------


def test_attention_maps_are_shares_of_the_descriptions(dive, batch):
    method = dive(inject_blocks=(1, 3))
    maps = method.attention_maps(batch.images)
    assert {block: tuple(a.shape) for block, a in maps.items()} == {1: (5, 2, 36, 135), 3: (5, 2, 36, 135)}
    for attention in maps.values():
        assert torch.allclose(attention.sum(-1), torch.ones(5, 2, 36), atol=1e-5), "does not sum to one"
        share = method.abnormal_share(attention)
        assert share.shape == (5, 36)
        assert torch.allclose(share, attention[..., :100].sum(-1).mean(1), atol=1e-6), "abnormal sentences come first"
    even = torch.full((1, 2, 3, 135), 1 / 135)
    assert torch.allclose(method.abnormal_share(even), torch.full((1, 3), 100 / 135)), "the neutral level"
    with pytest.raises(UsageError, match="deep=True"):
        dive(deep=False).attention_maps(batch.images)


def test_the_explicit_attention_is_the_one_that_is_used(dive):
    method = dive()
    module, bank = method.inject[0], method.desc_proj(method.bank())
    patches = torch.randn(2, 7, 64, generator=torch.Generator().manual_seed(0))
    values = module.v_proj(module.ln_kv(bank)).unflatten(-1, (2, 32)).transpose(0, 1)
    mixed = (module.attention(patches, bank) @ values).transpose(1, 2).flatten(2)
    assert torch.allclose(module(patches, bank), module.out_proj(mixed), atol=1e-6)


# --- scores -----------------------------------------------------------------------------------------------------------


def test_the_name_of_the_class_changes_nothing(dive, predict, batch):
    method = dive()
    nut, carpet = batch.samples[0].category, batch.samples[1].category
    named = [
        predict(method, replace(batch, samples=[replace(s, category=category) for s in batch.samples]))
        for category in (nut, carpet)
    ]
    assert torch.equal(named[0].score, named[1].score), "scores depend on the object's name"
    assert torch.equal(named[0].map, named[1].map), "maps depend on the object's name"


def test_the_semantic_branch_does_not_touch_the_prediction(dive, predict, batch):
    method = dive()
    before = predict(method, batch)
    with torch.no_grad():
        for name, parameter in own(method).items():  # one number for all entries is what a LayerNorm takes away
            if name.startswith(("g_semantic.", "deep_semantic")):
                parameter.add_(torch.linspace(-1, 1, parameter.shape[-1]))
        method.ctx_semantic[method.config.n_visual :].add_(torch.linspace(-1, 1, 32))
    method.clear_text_cache()
    after = predict(method, batch)
    assert torch.equal(before.score, after.score), "the score reads the semantic branch"
    assert torch.equal(before.map, after.map), "the map reads the semantic branch"
    with torch.no_grad():
        method.g_state.fc2.bias.add_(torch.linspace(-1, 1, 48))
    moved = predict(method, batch)
    assert not torch.allclose(moved.score, before.score), "the state branch does not count"
    assert torch.equal(moved.map, before.map), "maps come from patches alone"


# --- losses and gradients ---------------------------------------------------------------------------------------------


def test_offsets_pay_for_being_parallel():
    one = torch.tensor([[3.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    orthogonal = torch.tensor([[0.0, -2.0, 1.0], [1.0, -1.0, 5.0]])
    assert float(squared_cosine(one, orthogonal)) == pytest.approx(0, abs=1e-12)
    assert float(squared_cosine(one, 7 * one)) == pytest.approx(1, abs=1e-6)
    assert float(squared_cosine(one, -one)) == pytest.approx(1, abs=1e-6), "opposite offsets are parallel too"
    half = torch.tensor([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0]])
    assert float(squared_cosine(one, half)) == pytest.approx((0.5 + 0) / 2, abs=1e-6), "the mean over images"
    assert float(squared_cosine(0 * one, one)) == 0, "no offset, no angle, no division by zero"


@pytest.mark.parametrize("on", COMBINATIONS, ids=lambda on: "-".join(k for k, v in on.items() if v) or "nothing")
def test_a_switch_removes_its_parameters_and_losses_and_nothing_else(dive, batch, on):
    whole, method = own(dive()), dive(**on)
    gone = {
        "disentangle": ("g_state.", "g_semantic.", "deep_semantic"),
        "shallow": ("shallow.",),
        "deep": ("desc_proj.", "inject."),
    }
    without = tuple(prefix for switch, prefixes in gone.items() if not on[switch] for prefix in prefixes)
    if not (on["disentangle"] or on["shallow"]):
        without += ("ctx_semantic",)
    expected = {name for name in whole if not name.startswith(without)} if without else set(whole)
    assert set(own(method)) == expected
    reached = gradients(method, batch)
    assert set(reached) == expected, f"gradients miss or exceed: {sorted(set(reached) ^ expected)}"
    terms = {"state", "seg"} | ({"sem", "dis"} if on["disentangle"] else set()) | ({"reg"} if on["shallow"] else set())
    assert set(method.losses(method.encode(batch.images, batch.samples), batch)) == terms
    for name, parameter in own(method).items():
        assert torch.equal(parameter, whole[name]), f"{name}: an ablation starts from other values"


def test_each_loss_reaches_what_it_should(dive, batch):
    reg = gradients(dive(), batch, "reg")
    assert set(reg) == {"ctx_semantic", "shallow.weight", "shallow.bias"}, "L_reg is about the visual prompts"
    assert not reg["ctx_semantic"][4:].any(), "rows behind the first h are no visual prompts"
    state = gradients(dive(), batch, "state", "seg", "dis")
    assert not state["ctx_semantic"][4:].any(), "rows h+1..m learn from L_sem only"
    assert state["ctx_semantic"][:4].any(), "nothing is detached: the visual prompts learn from every term"
    assert "deep_semantic" not in state, "the semantic texts are for L_sem alone"
    semantic = gradients(dive(), batch, "sem")
    assert semantic["ctx_semantic"][4:].any()
    assert not {"ctx_normal", "ctx_abnormal", "deep_state", "g_state.fc1.weight"} & set(semantic)


def test_weights_of_the_losses(dive, batch):
    def losses(**settings):
        method = dive(**settings)
        with torch.no_grad():
            return method.losses(method.encode(batch.images, batch.samples), batch)

    one = losses()
    doubled = losses(sem_weight=2.0, dis_weight=3.0, seg_weight=4.0, reg_weight=5.0)
    factors = {"state": 1, "sem": 2, "dis": 3, "seg": 4, "reg": 5}
    for name, factor in factors.items():
        assert float(doubled[name]) == pytest.approx(factor * float(one[name]), rel=1e-5), name


# --- the auxiliary classes --------------------------------------------------------------------------------------------


def test_all_known_classes_are_told_apart_at_every_step(dive, batch):
    method = dive()
    with torch.no_grad():
        features = method.encode(batch.images, batch.samples)
    method.set_auxiliary_classes(["pill", "carpet", "metal nut", "pill"])
    assert method.class_names == ("pill", "carpet", "metal nut"), "names that collapse are one class"
    logits = method.semantic_logits(features, method.class_names)
    assert logits.shape == (5, 3), "classes that are absent from the batch count"
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([2, 1, 2, 1, 2]))
    assert torch.isclose(method.losses(features, batch)["sem"], expected, rtol=1e-6)
    method.set_auxiliary_classes(["carpet", "pill"])
    with pytest.raises(ValueError, match="'metal nut' is none of the auxiliary classes"):
        method.losses(features, batch)


@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*in eval mode at the start")  # as sweep/train.py does
def test_training_knows_the_classes_of_its_data(dive, batch):
    method = dive()
    method.begin_training([*dict.fromkeys(sample.category for sample in batch.samples)] * 2)
    assert method.class_names == ("metal nut", "carpet"), "the classes in use, also those absent from a batch"


# --- configuration ----------------------------------------------------------------------------------------------------


def test_unset_numbers_scale_to_the_backbone(dive, large, mini_config):
    config = dive().config  # 4 visual and 3 text blocks, 48 px
    assert (config.inject_blocks, config.deep_depth, config.first_vv_block) == ((3,), 2, 1)
    assert config.gaussian_sigma == pytest.approx(4 * 48 / 518)
    config = Dive.resolve(DiveConfig(), large)
    assert (config.inject_blocks, config.deep_depth, config.first_vv_block) == ((21, 22, 23), 9, 6), "the paper's"
    assert config.gaussian_sigma == 4.0
    small = copy.deepcopy(mini_config)
    small["vision_cfg"]["layers"], small["text_cfg"]["layers"] = 6, 5
    config = Dive.resolve(DiveConfig(), from_model(build_model(small, "small"), "small"))
    assert (config.inject_blocks, config.deep_depth) == ((5,), 4), "proportional depth"


def test_vit_large_trains_as_many_numbers_as_the_specification_counts(large):
    method = Dive(large)
    assert sum(p.numel() for p in own(method).values()) == 14_846_848
    scales = {
        "ctx_normal": 0.02, "deep_semantic": 0.02, "shallow.weight": 0.02, "inject.2.out_proj.weight": 0.02,
        "g_state.fc2.weight": 0.02, "desc_proj.weight": 768**-0.5, "g_semantic.fc1.weight": 768**-0.5,
        "inject.0.q_proj.weight": 1 / 32, "inject.0.k_proj.weight": 1 / 32, "inject.1.v_proj.weight": 1 / 32,
    }  # fmt: skip
    for name, scale in scales.items():
        assert float(own(method)[name].detach().std()) == pytest.approx(scale, rel=0.05), name
    assert all(not p.any() for name, p in own(method).items() if name.endswith("bias")), "biases start at zero"


def test_switches_are_one_with_their_numbers(dive):
    assert dive(shallow=False).config == dive(n_visual=0).config
    assert dive(deep=False).config == dive(inject_blocks=()).config
    assert not hasattr(dive(deep_depth=1), "deep_state"), "P = 1 means no deep tokens"


@pytest.mark.parametrize("settings", [{"n_ctx": 4}, {"n_ctx": 6, "n_visual": 6}, {"deep_depth": 1}, {"deep_depth": 3}])
def test_sweeps_over_lengths_and_depth(dive, batch, settings):
    method = dive(**settings)
    assert set(gradients(method, batch)) == set(own(method)), f"{settings}: a parameter learns nothing"


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        (
            {"inject_blocks": (4,)},
            BackboneError,
            r"after block 4, but mini has 4 blocks; take .* 1\.\.3, or",
        ),
        ({"inject_blocks": (0, 3)}, BackboneError, r"after block 0"),
        ({"inject_blocks": (3, 3)}, UsageError, r"each block once"),
        ({"deep_depth": 4}, BackboneError, r"deep_depth=4, but mini's text has 3 blocks; take --set deep_depth=3"),
        ({"n_ctx": 3}, UsageError, r"n_ctx=3; expected 4 or more"),
        ({"n_visual": 13}, UsageError, r"n_ctx=12; expected 13 or more"),
        ({"n_visual": -1}, UsageError, r"n_visual=-1; expected 0 or more"),
        ({"temperature": 0.0}, UsageError, r"temperature=0.0; expected more than 0"),
        ({"lexicon": "unheard_of"}, UsageError, r"lexicon unheard_of: no such file"),
        ({"lexicon_hash": "0" * 12}, UsageError, r"lexicon 'dive_lexicon' has hash .*, expected 0{12}"),
    ],
)
def test_what_no_run_can_have_is_refused_at_construction(dive, settings, kind, said):
    with pytest.raises(kind, match=said):
        dive(**settings)


def test_an_own_lexicon_is_taken_and_encoded_once(dive, mini, tmp_path, monkeypatch):
    path = tmp_path / "own.yaml"
    path.write_text("abnormal: [a crack, a stain]\nnormal: [nothing odd]\n", encoding="utf-8")
    method = dive(lexicon=str(path))
    assert method.is_abnormal.tolist() == [True, True, False]
    with torch.no_grad():
        expected = torch.nn.functional.normalize(mini.encode_prompts(["a crack", "a stain", "nothing odd"]), dim=-1)
    assert torch.allclose(method.bank(), expected, atol=1e-6), "plain text features of length one"
    assert method.config.lexicon_hash != dive().config.lexicon_hash, "rows must tell the lexicons apart"
    monkeypatch.setattr(mini, "encode_prompts", lambda *args, **options: pytest.fail("encoded again"))
    method.bank()
    dive(lexicon=str(path), seed=5)  # what only makes a plan of methods encodes nothing
