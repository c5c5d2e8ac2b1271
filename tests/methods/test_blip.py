# pytest tests/methods/test_blip.py
"""What is special to BLIP, the method; parity is in tests/golden."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import save_file

from tests.miniature import MINI_BLIP, VOCABULARY, random_blip
from zsad_bench.backbones.families import blip as family
from zsad_bench.backbones.load import architecture
from zsad_bench.cli import main
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.methods.blip import Blip, BlipConfig
from zsad_bench.planning import recipe as recipes
from zsad_bench.planning.configure import trains
from zsad_bench.planning.plan import plan

pytest.importorskip("transformers", reason="transformers is not installed (extra `transformers`)")
fixed_and_learned = pytest.mark.parametrize("prompts", ["fixed", "learned"])


@pytest.fixture
def blip(make):
    return lambda **settings: make("blip", **settings)


# --- what it computes -------------------------------------------------------------------------------------------------


@fixed_and_learned
@torch.no_grad()
def test_score_and_map_by_hand(blip, predict, batch, prompts):
    method = blip(prompts=prompts, layers="four", gaussian_sigma=0.0)
    backbone, cosine = method.backbone, torch.nn.functional.cosine_similarity
    found = predict(method, batch)
    assert method.config.taps == (1, 2, 3, 4)
    rows = backbone.vision.embed(batch.images, "bilinear")
    maps, image = [], None
    for number in (1, 2, 3, 4):
        rows, _ = backbone.vision.block(number, rows, False, "own")
        features = backbone.vision.project(rows)
        for i, sample in enumerate(batch.samples):
            normal, abnormal = method.text_pair([sample.category])[0]
            both = torch.stack([cosine(features[i], text, dim=-1) for text in (normal, abnormal)]) / 0.07
            maps.append(both.softmax(0)[1])
        image = torch.stack(maps[-5:])[:, 0]
    patches = torch.stack(maps).unflatten(0, (4, 5))[:, :, 1:].unflatten(-1, (6, 6))
    large = torch.nn.functional.interpolate(patches, size=(48, 48), mode="bilinear", align_corners=False)
    assert torch.allclose(found.score, image, atol=1e-5)
    assert torch.allclose(found.map, large.sum(0), atol=1e-5)


@torch.no_grad()
def test_learned_prompts_name_no_object_and_fixed_ones_do(blip, batch):
    categories = [batch.samples[0].category, batch.samples[1].category]
    nut, carpet = blip().text_pair(categories)
    assert torch.equal(nut, carpet)
    method = blip(prompts="fixed")
    nut, carpet = method.text_pair(categories)
    assert not torch.allclose(nut, carpet, atol=1e-3)
    assert method.sentences(categories[0]) == ["A photo of a normal metal nut", "A photo of an anomalous metal nut"]
    other = blip(prompts="fixed", normal_prompt="a good {}", class_names="object")
    assert other.sentences(categories[0])[0] == "a good object"


@torch.no_grad()
def test_the_tokens_stand_between_the_start_and_the_words(blip):
    method = blip(n_ctx=2)
    tower = method.backbone.text_tower
    with torch.no_grad():  # the embeddings of words that can be written down
        method.ctx_normal.copy_(tower.embed_tokens(tower.tokenize(["a b"]))[0, 1:3])
        method.ctx_abnormal.copy_(tower.embed_tokens(tower.tokenize(["c d"]))[0, 1:3])
    expected = method.backbone.encode_prompts(["a b object.", "c d damaged object."])
    assert torch.allclose(method.learned_texts(), expected, atol=1e-5)


@torch.no_grad()
def test_fixed_prompts_are_what_clip_computes_on_this_backbone(blip, make, predict, batch):
    """Another method's code, told to do the same: it shows that the family serves methods that know nothing of it."""
    method = blip(prompts="fixed", gaussian_sigma=0.5)
    clip = make("clip", backbone=method.backbone, align_corners=False, gaussian_sigma=0.5)
    found, expected = predict(method, batch), predict(clip, batch)
    assert torch.allclose(found.score, expected.score, atol=1e-6)
    assert torch.allclose(found.map, expected.map, atol=1e-6)


def test_what_is_left_open_comes_from_the_backbone(blip):
    config = blip().config
    assert (config.taps, config.prompts) == ((4,), "learned")
    assert config.gaussian_sigma == pytest.approx(4 * 48 / 384)
    for name, four in (("blip-itm-base-coco", (3, 6, 9, 12)), ("blip-itm-large-coco", (6, 12, 18, 24))):
        resolved = Blip.resolve(BlipConfig(layers="four"), architecture(name))
        assert (resolved.taps, resolved.image_size, resolved.gaussian_sigma) == (four, 384, 4.0)
        assert Blip(architecture(name)).config.taps == four[-1:], "built without a vocabulary"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"taps": ()}, r"BLIP: taps=\[\]; expected at least one block"),
        ({"n_ctx": 0}, "BLIP: n_ctx=0; expected 1 or more"),
        ({"n_ctx": 65}, r"BLIP: n_ctx=65; mini-blip-quick_gelu has room for 64 or fewer"),
        ({"temperature": 0.0}, "BLIP: temperature=0.0; expected more than 0"),
    ],
)
def test_numbers_that_no_run_can_have(blip, settings, said):
    with pytest.raises(UsageError, match=said):
        blip(**settings)


def test_the_longest_context_that_is_allowed_can_be_read(blip):
    assert blip(n_ctx=64).learned_texts().isfinite().all()


def test_a_block_that_there_is_not(blip):
    with pytest.raises(BackboneError, match=r"tap at block 9: mini-blip-quick_gelu has blocks 1\.\.4"):
        _ = blip(taps=(9,)).encoder_spec


# --- a configuration without stages -----------------------------------------------------------------------------------


def test_fixed_prompts_have_nothing_to_train(blip, predict, batch):
    method = blip(prompts="fixed")
    assert method.stages() == []
    assert not method.own_parameters()
    assert not method.trains(method.config)
    assert torch.equal(predict(method, batch).map, predict(blip(prompts="fixed", seed=8), batch).map)
    assert (trains("blip"), trains("blip", {"prompts": "fixed"}), trains("blip", {"lr": 0.1})) == (True, False, True)


def test_image_labels_are_enough_without_the_local_terms(blip, batch):
    method = blip(local_weight=0.0)
    assert method.learns_from(method.config) == "labels"
    assert set(method.losses(method.encode(batch.images, batch.samples), batch)) == {"image"}


def test_fixed_prompts_are_planned_once_and_learned_ones_under_each_prior(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "suite: demo\nmethods:\n  - blip: [{prompts: fixed}, {}]\npriors: [rich, limited]\ntargets: [demo_textures]\n"
        "seeds: [0, 1]\nepochs: 3\n"
    )
    made = plan(recipes.load(tmp_path / "mine.yaml"))
    found = sorted((c.job.settings.get("prompts", ""), c.job.prior, c.job.seed, c.job.epochs) for c in made.cells)
    learned = [("", prior, seed, 3) for prior in ("limited", "rich") for seed in (0, 1)]
    assert found == [*learned, ("fixed", "none", 0, None)]


# --- from the command line --------------------------------------------------------------------------------------------


@pytest.fixture
def bench(monkeypatch, capsys, tmp_path):
    """bench(*words): its exit code, the lines on standard error, and the rows of the method."""

    def ran(*words: str):
        options = ["--method", "blip", "--targets", "demo_textures", "--data", "scale=0.05", "--track", "off"]
        folders = ["--out", str(tmp_path / "boards"), "--runs", str(tmp_path / "runs"), "--suite", "demo"]
        monkeypatch.setattr(sys, "argv", ["zsad-bench", "bench", *options, *folders, *words])
        code = main()
        file = tmp_path / "boards" / "demo" / "rows" / "blip.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return code, capsys.readouterr().err.strip().splitlines(), rows

    monkeypatch.setenv("NO_COLOR", "1")
    return ran


def test_on_a_clip_a_line_says_what_it_needs(bench, tmp_path):
    code, lines, rows = bench("--prior", "limited")
    assert (code, rows) == (1, [])
    assert lines == [
        "zsad-bench: BLIP needs a bidirectional text tower, and backbone tiny has none; take another --backbone"
    ]
    assert not (tmp_path / "boards").exists(), "something was written before it was refused"


def test_without_transformers_a_line_says_how_to_install_it(bench, monkeypatch, tmp_path):
    monkeypatch.setattr(family, "find_spec", lambda name: None)
    code, lines, rows = bench("--prior", "limited", "--backbone", "blip-itm-base-coco", "--weights", str(tmp_path))
    assert (code, rows) == (1, [])
    assert lines == [
        "zsad-bench: blip-itm-base-coco needs transformers, which is not installed; "
        "pip install 'zsad-bench[transformers]'"
    ]


@pytest.mark.slow
def test_both_kinds_of_prompts_run(bench, monkeypatch, tmp_path):
    monkeypatch.setitem(family.CONFIGS, "blip-itm-base-coco", MINI_BLIP)
    weights = tmp_path / "weights"
    weights.mkdir()
    save_file(random_blip("gelu").state_dict(), weights / "model.safetensors")
    (weights / "vocab.txt").write_text("\n".join(VOCABULARY))
    backbone = ["--backbone", "Salesforce/blip-itm-base-coco", "--weights", str(weights), "--set", "image_size=48"]
    assert bench("--prior", "limited", "--epochs", "1", *backbone)[:2] == (0, [])
    code, lines, rows = bench("--prior", "limited", "--epochs", "1", *backbone, "--set", "prompts=fixed")
    assert (code, lines) == (0, [])
    by_variant = {json.dumps(row["variant"]): (row["prior"], row["backbone"]) for row in rows}
    name = "blip-itm-base-coco"
    assert set(by_variant.values()) == {("limited", name), ("none", name)}, "what learns nothing has no prior"
    fixed = [variant for variant, (prior, _) in by_variant.items() if prior == "none"]
    assert all("epochs" not in variant for variant in fixed), "nor epochs"
    assert any(row["metric"] == "pixel_auroc" and row["value"] is not None for row in rows)
