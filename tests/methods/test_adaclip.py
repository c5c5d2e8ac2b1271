# pytest tests/methods/test_adaclip.py
"""What is special to AdaCLIP; parity with the released code is in tests/golden."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from tests.official import adaclip_file
from zsad_bench.backbones.load import architecture
from zsad_bench.errors import BackboneError, CheckpointError, UsageError
from zsad_bench.losses import dice, focal
from zsad_bench.methods._scoring import l2_normalize, upsample
from zsad_bench.methods.adaclip import AdaClip, AdaClipConfig, k_means, memberships
from zsad_bench.types import Category, Tap

KINDS, BRANCHES = ("static_dynamic", "static", "dynamic"), ("vision_text", "vision", "text", "none")
COMBINATIONS = [
    *({"prompts": prompts, "branches": branches} for prompts, branches in product(KINDS, BRANCHES)),
    {"prompts": "static_dynamic", "branches": "vision_text", "fusion": "top_patches"},
]
SENTENCES = 48  # of a class: 28 normal, 20 anomalous


@pytest.fixture
def adaclip(make):
    return lambda **settings: make("adaclip", **settings)


@pytest.fixture
def read(batch):
    """read(method): what it makes of the shared batch, without gradients."""

    def reading(method, of=batch):
        with torch.no_grad():
            return method.read(method.encode(of.images, of.samples), of.samples)

    return reading


def gradients(method: AdaClip, batch) -> dict[str, torch.Tensor]:
    """Gradients of the loss; parameters that none reached are left out."""
    method.begin_stage(method.stages()[0])
    sum(method.losses(method.encode(batch.images, batch.samples), batch).values()).backward()
    return {name: p.grad for name, p in method.named_parameters() if p.grad is not None and p.grad.any()}


def count_texts(monkeypatch, backbone) -> list[int]:
    """How many sequences each text call from now on encodes."""
    calls, encode = [], backbone.finish_tree

    def counted(rows, tree, *args, **kwargs):
        calls.append(len(tree))
        return encode(rows, tree, *args, **kwargs)

    monkeypatch.setattr(backbone, "finish_tree", counted)
    return calls


# --- configuration ----------------------------------------------------------------------------------------------------


def test_presets_set_what_paper_and_code_do_differently(adaclip):
    def preset(**settings):
        return [getattr(adaclip(**settings).config, name) for name in ("fusion", "dice", "prompt_half")]

    assert preset() == ["best_cluster", "per_image", False], "the default is the paper"
    assert preset(fidelity="official") == ["top_patches", "per_row", True]
    assert preset(fidelity="official", dice="per_image", prompt_half=False) == ["top_patches", "per_image", False]


@pytest.mark.parametrize(("name", "printed"), [("ViT-L-14-336-quickgelu", 40.7), ("ViT-B-16-quickgelu", 19.6)])
def test_it_learns_as_many_numbers_as_the_paper_prints(name, printed):
    """Table 6, in units of 2**20 bytes of float32; the paper's have text prompts of block 1, which no pass reads."""
    backbone = architecture(name)
    method = AdaClip(backbone)
    numbers = sum(p.numel() for p in method.own_parameters().values()) + 5 * backbone.text_tower.width
    assert round(numbers * 4 / 2**20, 1) == printed


def test_blocks_are_those_of_the_paper_on_its_backbone():
    config = AdaClip.resolve(AdaClipConfig(), architecture("ViT-L-14-336-quickgelu"))
    assert (config.taps, config.depth, config.gaussian_sigma) == ((6, 12, 18, 24), 4, 4.0)
    assert (config.pos_interp, config.activation, config.batch_size) == ("bicubic", "gelu", 1)


def test_on_a_small_backbone_both_encoders_are_prompted(adaclip):
    method = adaclip()  # 4 visual and 3 text blocks, 48 px, vision width 64, text width 32, joint width 48
    shapes = {name: tuple(p.shape) for name, p in method.own_parameters().items()}
    expected = {"visual_prompts.static": (2, 5, 64), "text_prompts.static": (1, 5, 32)}
    for of, width in (("visual", 64), ("text", 32)):
        for i in range(5):
            expected |= {
                f"{of}_prompts.dynamic.{i}.weight": (width, 48),
                f"{of}_prompts.dynamic.{i}.bias": (width,),
            }
    for tap in range(4):
        expected |= {f"patch_maps.{tap}.weight": (48, 64), f"patch_maps.{tap}.bias": (48,)}
    assert shapes == expected | {"class_map.weight": (48, 48), "class_map.bias": (48,)}
    assert method.encoder_spec.taps == {Tap(block, raw=True) for block in (1, 2, 3, 4)}
    assert method.config.gaussian_sigma == pytest.approx(4 * 48 / 518)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"depth": 4}, BackboneError, "depth=4, but .*'s text has 3 blocks; take --set depth=3 or less"),
        ({"depth": 5, "branches": "vision"}, BackboneError, "depth=5, but .*'s vision has 4 blocks"),
        ({"length": 8}, UsageError, "length=8, but its shortest sentence has 7 tokens .*take --set length=7 or less"),
        ({"length": 0}, UsageError, "length=0; expected 1 or more"),
        ({"taps": ()}, UsageError, r"taps=\[\]; expected one block or more"),
        ({"taps": (1, 1)}, UsageError, r"taps=\[1, 1\]; expected one block or more, each once"),
        ({"fusion_weight": 1.5}, UsageError, "fusion_weight=1.5; expected a share from 0 to 1"),
        ({"fusion_weight": -0.1}, UsageError, "fusion_weight=-0.1; expected 0 or more"),
        ({"n_clusters": 0}, UsageError, "n_clusters=0; expected 1 or more"),
        ({"gradient_clip": 0.0}, UsageError, "gradient_clip=0.0; expected more than 0"),
        ({"mosaic_prob": 1.5}, UsageError, "mosaic_prob=1.5; expected 0 to 1, or null"),
        ({"text_chunk": 0}, UsageError, "text_chunk=0; expected 1 or more"),
    ],
)
def test_numbers_that_no_run_can_have(adaclip, settings, error, said):
    with pytest.raises(error, match=f"AdaCLIP: {said}"):
        adaclip(**settings)


def test_the_longest_prompts_that_are_allowed_leave_end_of_text(adaclip, read):
    assert read(adaclip(length=7)).text.isfinite().all()
    assert adaclip(length=8, branches="vision").config.length == 8, "visual prompts may be longer"


def test_the_optimiser_is_that_of_the_released_code(adaclip):
    method = adaclip(gradient_clip=1.0)
    stage = method.stages()[0]
    assert (stage.clip, stage.epochs, stage.batch_size) == (1.0, 5, 1)
    assert stage.mosaic == {"mvtec": 0.2}, "mosaics of MVTec AD alone"
    assert adaclip(mosaic_prob=0.5).stages()[0].mosaic == {"*": 0.5}
    optimizer = method.optimizer_for(stage)
    assert isinstance(optimizer, torch.optim.AdamW)
    options = optimizer.param_groups[0]
    assert (options["lr"], options["betas"], options["weight_decay"]) == (0.01, (0.5, 0.999), 0.01)


# --- prompts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", COMBINATIONS, ids=lambda s: "-".join(s.values()))
def test_every_ablation_trains_all_that_it_has(adaclip, batch, settings):
    method = adaclip(**settings)
    own = method.own_parameters()
    assert gradients(method, batch).keys() == own.keys(), "some of what it learns has no gradient, or more than that"
    for branch, name in (("vision", "visual_prompts"), ("text", "text_prompts")):
        for kind in ("static", "dynamic"):
            there = any(key.startswith(f"{name}.{kind}") for key in own)
            assert there == (branch in settings["branches"] and kind in settings["prompts"]), f"{name}.{kind}"


def test_an_ablation_starts_from_the_values_of_the_whole(adaclip):
    whole = adaclip().own_parameters()
    for settings in COMBINATIONS:
        for name, parameter in adaclip(**settings).own_parameters().items():
            assert torch.equal(parameter, whole[name]), f"{settings}: {name} starts elsewhere"


def test_without_visual_prompts_the_pass_is_plain(adaclip, mini, batch):
    method = adaclip(branches="text")
    with torch.no_grad():
        found = method.encode(batch.images, batch.samples)
        plain = mini.encode_image(batch.images, method.encoder_spec)
    for tap, rows in plain.rows.items():
        assert torch.equal(found.rows[tap], rows), f"{tap} is of another pass"
    assert torch.equal(found.extra["frozen"], plain.pooled("cls")), "the dynamic prompts come from another feature"


def test_the_plain_pass_comes_first_and_carries_no_gradient(adaclip, mini, batch):
    method = adaclip()
    method.begin_stage(method.stages()[0])
    features = method.encode(batch.images, batch.samples)
    spec = replace(method.encoder_spec, taps=frozenset())
    plain = mini.encode_image(batch.images, spec).pooled("cls")
    assert torch.allclose(features.extra["frozen"], plain, atol=1e-6)
    assert not features.extra["frozen"].requires_grad
    assert features.pooled("cls").requires_grad, "no gradient goes through the prompted pass"
    assert not torch.allclose(features.pooled("cls"), plain, atol=1e-3), "the visual prompts change nothing"
    assert [rows.shape[1] for rows in features.rows.values()] == [1 + 36] * 4, "prompts are among the patches"


def test_static_prompts_need_no_plain_pass(adaclip, batch, monkeypatch):
    method = adaclip(prompts="static")
    monkeypatch.setattr(
        method, "frozen_feature", lambda images, samples: pytest.fail("a plain pass that nothing reads")
    )
    with torch.no_grad():
        assert not method.encode(batch.images, batch.samples).extra


def test_prompts_are_the_sum_of_both_kinds(adaclip):
    prompts = adaclip().visual_prompts
    image = torch.randn(3, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        blocks = prompts(image)
        for block, static in zip(blocks, prompts.static, strict=True):
            for row, of in enumerate(prompts.dynamic):
                expected = image @ of.weight.T + of.bias + static[row]
                assert torch.allclose(block[:, row], expected, atol=1e-6), f"row {row}"


def test_rounding_moves_prompts_by_less_than_half_precision_does(adaclip, predict, batch):
    exact, rounded = (predict(adaclip(prompt_half=half), batch) for half in (False, True))
    off = (exact.map - rounded.map).abs().max()
    assert 0 < off < 2e-2, f"maps moved by {off}"


# --- texts ------------------------------------------------------------------------------------------------------------


def test_sentences(adaclip):
    category = Category("any", "pipe-fryum_2", "long pipe", "object", "industrial")
    normal, anomalous = adaclip().sentences(category)
    assert (len(normal), len(anomalous)) == (28, 20)
    assert normal[0] == "a bad photo of a pipe fryum_2."
    assert normal[5] == "a low resolution photo of the flawless pipe fryum_2.", "templates run inside of states"
    assert anomalous[-1] == "a cropped photo of the pipe fryum_2 with damage."
    for how, name in (("raw", "pipe fryum 2"), ("prompt_name", "long pipe"), ("object", "object")):
        assert adaclip(class_names=how).sentences(category)[0][0] == f"a bad photo of a {name}."


def test_texts_of_a_batch_are_those_of_its_images(adaclip, read, batch):
    whole = read(adaclip()).text
    assert torch.allclose(whole.norm(dim=-1), torch.ones(5, 2), atol=1e-6)
    for chunk in (1, 2, 5):
        assert torch.allclose(read(adaclip(text_chunk=chunk)).text, whole, atol=1e-6), f"{chunk} images at once"
    assert not torch.allclose(whole[0], whole[2], atol=1e-3), "two images of one category have the same texts"
    by_hand = adaclip()
    features = by_hand.encode(batch.images, batch.samples)
    tower = by_hand.backbone.text_tower
    with torch.no_grad():
        for i, sample in enumerate(batch.samples):
            deep = by_hand.text_prompts(features.extra["frozen"])[0][i]
            states = []
            for sentences in by_hand.sentences(sample.category):
                vectors = []
                for sentence in sentences:
                    ids = tower.tokenize([sentence])
                    eot = tower.end_of_text(ids)
                    rows = tower.block(1, tower.place(tower.embed_tokens(ids)), eot, "gelu")
                    rows = torch.cat([rows[:, :1], deep[None], rows[:, 6:]], 1)
                    for block in (2, 3):
                        rows = tower.block(block, rows, eot, "gelu")
                    vectors.append(l2_normalize(tower.read(rows, eot))[0])
                states.append(l2_normalize(torch.stack(vectors).mean(0)))
            assert torch.allclose(torch.stack(states), whole[i], atol=1e-5), f"texts of image {i}"


def test_how_many_sentences_are_encoded(adaclip, predict, batch, mini, monkeypatch):
    method = adaclip()
    method.freeze()
    calls = count_texts(monkeypatch, mini)
    predict(method, batch)
    assert calls == [4 * SENTENCES, SENTENCES], "five images, four at a time"
    for settings in ({"prompts": "static"}, {"branches": "vision"}, {"branches": "none"}):
        method = adaclip(**settings)
        method.freeze()
        calls.clear()
        predict(method, batch)
        predict(method, batch)
        assert sum(calls) == 2 * SENTENCES, f"{settings}: two categories are encoded once each, found {calls}"


def test_a_pair_of_a_category_is_there_only_where_no_image_changes_it(adaclip, batch):
    categories = [batch.samples[0].category]
    assert adaclip(prompts="static").text_pair(categories).shape == (1, 2, 48)
    with pytest.raises(NotImplementedError):
        adaclip().text_pair(categories)


# --- clusters ---------------------------------------------------------------------------------------------------------


def clusters_of(drawn: torch.Tensor, n_clusters: int, seed: int) -> torch.Tensor:
    """(K,) clusters of one set of points, beside which another one must make no difference."""
    alone = k_means(drawn[None], n_clusters, seed)[0]
    other = torch.rand(drawn.shape, generator=torch.Generator().manual_seed(9))
    assert torch.equal(k_means(torch.stack([other, drawn]), n_clusters, seed)[1], alone), "sets know of each other"
    return alone


def points(count: int, width: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(3))
def test_k_means_finds_what_is_apart(seed):
    blobs = torch.arange(4).repeat_interleave(10)
    spread = 0.1 * points(40, seed=seed) + 10 * torch.eye(6)[blobs]
    labels = clusters_of(spread, 4, seed)
    assert all(len(labels[blobs == blob].unique()) == 1 for blob in range(4)), "a blob is in several clusters"
    assert len(labels.unique()) == 4, "two blobs are one cluster"


@pytest.mark.parametrize(("count", "clusters"), [(100, 20), (36, 20), (36, 5), (200, 7)])
def test_k_means_ends_where_every_point_is_nearest_to_its_own_mean(count, clusters):
    drawn = points(count)
    labels = clusters_of(drawn, clusters, 111).tolist()
    members = {label: [i for i, of in enumerate(labels) if of == label] for label in set(labels)}
    means = {label: drawn[rows].mean(0) for label, rows in members.items()}
    for i, label in enumerate(labels):
        nearest = min(means, key=lambda other: float((drawn[i] - means[other]).square().sum()))
        assert nearest == label, f"point {i} of cluster {label} is nearer to {nearest}"
    assert len(means) == clusters, "a cluster is empty"


def test_k_means_starts_from_points_far_apart():
    """k-means++ draws a second centre by squared distance: of two far groups of unequal size both are found."""
    groups = torch.cat([torch.zeros(99, 2), torch.full((1, 2), 100.0)]) + 0.01 * points(100, 2)
    for seed in range(10):
        labels = clusters_of(groups, 2, seed)
        assert (labels == labels[-1]).sum() == 1, f"seed {seed}: the lone point shares its cluster"


def test_k_means_draws_the_same_for_every_set_and_never_from_the_global_generator():
    drawn = points(50)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = clusters_of(drawn, 10, 111)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one, clusters_of(drawn.clone(), 10, 111))
    assert any(not torch.equal(one, clusters_of(drawn, 10, seed)) for seed in range(5)), "the seed changes nothing"


@pytest.mark.parametrize("clusters", [1, 3, 20])
def test_fewer_different_points_than_clusters(clusters):
    twice = points(3).repeat(4, 1)
    labels = clusters_of(twice, clusters, 0)
    assert len(labels.unique()) == min(3, clusters)
    assert torch.equal(labels[:3], labels[3:6]), "equal points are in different clusters"
    assert torch.equal(clusters_of(torch.ones(8, 5), clusters, 0), torch.zeros(8, dtype=torch.long))
    assert len(clusters_of(points(2), clusters, 0)) == 2, "fewer points than clusters"


def test_memberships_average_and_leave_empty_clusters_at_zero():
    shares = memberships(torch.tensor([[0, 2, 2, 0, 2]]), 4, torch.float32)[0]
    third = 1 / 3
    expected = [[0.5, 0, 0, 0.5, 0], [0] * 5, [0, third, third, 0, third], [0] * 5]
    assert torch.allclose(shares, torch.tensor(expected))


@pytest.fixture
def field() -> tuple[torch.Tensor, torch.Tensor]:
    """(2,4,36,48) unit patches of two images at four taps, and (2,36) probabilities."""
    generator = torch.Generator().manual_seed(5)
    patches = l2_normalize(torch.randn(2, 4, 36, 48, generator=generator))
    return patches, torch.rand(2, 36, generator=generator)


def test_top_patches_averages_the_centres_of_the_clusters_that_are_not_empty(adaclip, field, monkeypatch):
    method, (patches, abnormal) = adaclip(fusion="top_patches", n_clusters=4), field
    order = [sorted(range(36), key=lambda i: -row[i])[:20] for row in abnormal.tolist()]
    assert method.strongest(abnormal).tolist() == order
    # by the place of the patch; cluster 3 stays empty
    monkeypatch.setattr(method, "assign", lambda of: torch.arange(20).remainder(3).expand(len(of), -1))
    found = method.fused(patches, abnormal)
    for image, chosen in enumerate(order):
        places = sorted(chosen)
        centres = []
        for cluster in range(3):
            members = [patches[image, tap, place] for place in places[cluster::3] for tap in range(4)]
            centres.append(sum(members) / len(members))
        expected = sum(centres) / 3
        assert torch.allclose(found[image], expected / expected.norm(), atol=1e-6), f"image {image}"


def test_best_cluster_takes_the_most_anomalous_of_each_tap(adaclip, field, monkeypatch):
    method, (patches, abnormal) = adaclip(fusion="best_cluster", n_clusters=4), field
    labels = torch.stack([(torch.arange(36) * (2 * tap + 1) // 5) % 3 for tap in range(4)]).repeat(2, 1)
    monkeypatch.setattr(method, "assign", lambda of: labels)
    found = method.fused(patches, abnormal)
    for image in range(2):
        centres = []
        for tap in range(4):
            members = {c: [i for i in range(36) if int(labels[tap, i]) == c] for c in range(3)}
            scores = {c: sum(float(abnormal[image, i]) for i in rows) / len(rows) for c, rows in members.items()}
            best = max(scores, key=scores.get)
            centres.append(patches[image, tap, members[best]].mean(0))
        expected = sum(centres) / 4
        assert torch.allclose(found[image], expected / expected.norm(), atol=1e-6), f"image {image}"


def test_a_cluster_that_is_empty_is_not_the_best(adaclip, field, monkeypatch):
    method, (patches, _) = adaclip(fusion="best_cluster", n_clusters=4), field
    monkeypatch.setattr(method, "assign", lambda of: torch.full(of.shape[:2], 3))
    found = method.fused(patches, torch.zeros(2, 36))
    assert torch.allclose(found, l2_normalize(patches.mean((1, 2))), atol=1e-6), (
        "probabilities of zero, clusters 0..2 empty"
    )


@pytest.mark.parametrize("fusion", ["best_cluster", "top_patches"])
def test_what_is_clustered(adaclip, field, fusion, monkeypatch):
    method, (patches, abnormal) = adaclip(fusion=fusion, n_clusters=3), field
    seen, assign = [], method.assign
    monkeypatch.setattr(method, "assign", lambda of: seen.append(of) or assign(of))
    method.fused(patches, abnormal)
    if fusion == "best_cluster":
        assert torch.equal(seen[0], patches.flatten(0, 1)), "each tap of each image by itself"
    else:
        places = abnormal[1].topk(15).indices.sort().values
        assert seen[0].shape == (2, 15, 4 * 48)
        assert torch.equal(seen[0][1], torch.cat([patches[1, tap, places] for tap in range(4)], -1))


def test_near_equal_probabilities_do_not_change_the_draws(adaclip, field):
    """Rounding may swap two patches in the order of probability; which are clustered, and so the feature, stays."""
    method, (patches, abnormal) = adaclip(fusion="top_patches", n_clusters=20), field
    noise = 1e-3 * torch.randn(abnormal.shape, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(method.strongest(abnormal), method.strongest(abnormal + noise)), "no two change places here"
    assert torch.equal(method.fused(patches, abnormal), method.fused(patches, abnormal + noise))


def test_a_uniform_image_is_scored(adaclip, predict, batch):
    """All patches but the border's are alike: clusters are empty."""
    for fusion in ("best_cluster", "top_patches"):
        found = predict(adaclip(fusion=fusion), replace(batch, images=torch.zeros_like(batch.images)))
        assert found.score.isfinite().all()


# --- scores and losses ------------------------------------------------------------------------------------------------


def test_the_image_feature_is_the_weighted_sum(adaclip, read):
    for weight in (0.0, 0.2, 1.0):
        reading = read(adaclip(fusion_weight=weight))
        assert (reading.clusters is None, reading.image is None) == (weight == 0, weight == 1), (
            "what is not used exists"
        )
        feature = sum(
            w * part for w, part in ((weight, reading.clusters), (1 - weight, reading.image)) if part is not None
        )
        cosines = torch.stack([(l2_normalize(feature) * reading.text[:, state]).sum(-1) for state in (0, 1)], 1)
        assert torch.allclose(reading.probs, (100 * cosines).softmax(-1), atol=1e-4)


def test_the_map_is_the_softmax_of_the_mean_logits(adaclip, batch, predict):
    method = adaclip(gaussian_sigma=0.0)
    with torch.no_grad():
        features = method.encode(batch.images, batch.samples)
        reading = method.read(features, batch.samples)
        taps = torch.stack([upsample(logits, features, align_corners=True) for logits in reading.logits.unbind(1)])
    expected = taps.mean(0).softmax(1)[:, 1]
    assert torch.allclose(predict(method, batch).map, expected, atol=1e-5)
    assert torch.equal(predict(method, batch).score, reading.probs[:, 1])


@pytest.mark.parametrize("over", ["per_image", "per_row"])
def test_losses_add_up(adaclip, batch, over):
    method = adaclip(dice=over)
    features = method.encode(batch.images, batch.samples)
    with torch.no_grad():
        found, reading = method.losses(features, batch), method.read(features, batch.samples)
        local = 0.0
        for probs in method.probabilities(reading, features):
            assert torch.allclose(probs.sum(1), torch.ones(5, 48, 48), atol=1e-5)
            local += focal(probs, batch.masks)
            local += dice(probs[:, 1], batch.masks, over) + dice(probs[:, 0], ~batch.masks, over)
        q = reading.probs[torch.arange(5), batch.labels] * (1 - 2e-5) + 2e-5
    assert float(found["local"]) == pytest.approx(float(local), rel=1e-6)
    assert float(found["image"]) == pytest.approx(float((-((1 - q) ** 2) * q.log()).mean()), rel=1e-3)
    assert found.keys() == {"image", "local"}


def test_recomputing_blocks_changes_no_gradient(adaclip, batch):
    kept, recomputed = (gradients(adaclip(checkpoint_blocks=on), batch) for on in (False, True))
    assert kept.keys() == recomputed.keys()
    for name, gradient in kept.items():
        largest = float(gradient.abs().max())
        assert torch.allclose(gradient, recomputed[name], atol=1e-5 * largest), name


# --- released checkpoints ---------------------------------------------------------------------------------------------


def file(**settings) -> dict[str, torch.Tensor]:
    """A released file of the miniature's widths, without its prefix."""
    return {name.removeprefix("clip_model."): value for name, value in adaclip_file(64, 48, 32, **settings).items()}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"depth": 3}, {"prompts": "static_dynamic", "branches": "vision_text", "depth": 3, "length": 5}),
        ({"depth": 2, "length": 3, "dynamic": False}, {"prompts": "static", "depth": 2, "length": 3}),
        ({"depth": 2, "branches": ("visual",)}, {"branches": "vision", "prompts": "static_dynamic"}),
        ({"depth": 3, "branches": ("text",)}, {"branches": "text", "depth": 3}),
        ({"depth": 1}, {"branches": "vision_text", "depth": 1}),
    ],
)
def test_a_file_says_what_is_prompted(adaclip, mini, settings, expected):
    state = file(**settings)
    overrides, tensors = AdaClip.official.read(state, mini)
    assert {name: overrides[name] for name in expected} == expected
    assert (overrides["fidelity"], overrides["taps"]) == ("official", (1, 2, 3, 4))
    method = adaclip(**overrides)
    method.load_own_state(tensors)
    back = AdaClip.official.write(method)
    assert back.keys() == state.keys()
    changed = {name for name in state if not torch.equal(back[name], state[name])}
    unread = {name for name in changed if not back[name].any()}
    assert changed == unread, "tensors that a pass reads come back as others"
    assert "text_prompter.static_prompts.0" not in state or "text_prompter.static_prompts.0" in unread


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"visual_prompter.static_prompts.1": None},
            r"visual_prompter.static_prompts.1: found nothing, expected \(5, 64\)",
        ),
        (
            {"dynamic_text_prompt_generator.head.4.bias": None},
            "dynamic_text_prompt_generator.head.4.bias: found nothing",
        ),
        ({"patch_token_layer.head.4.bias": torch.zeros(48)}, "patch_token_layer.head.4.bias: found 5 maps of patches"),
        ({"dynamic_text_prompt_generator.head.5.bias": torch.zeros(32)}, "found 6 dynamic prompts, expected 5"),
        ({"cls_token_layer.head.0.weight": torch.zeros(48, 64)}, r"found \(48, 64\), expected \(48, 48\) on"),
        ({"something": torch.zeros(2)}, "something: found .*, expected no such key in AdaCLIP's"),
    ],
)
def test_a_file_that_is_not_whole(mini, change, said):
    state = {name: value for name, value in {**file(depth=3), **change}.items() if value is not None}
    with pytest.raises(CheckpointError, match=said):
        AdaClip.official.read(state, mini)


def test_a_file_without_static_prompts_is_refused(mini):
    state = {name: value for name, value in file().items() if "static" not in name}
    with pytest.raises(
        CheckpointError, match=r"visual_prompter.static_prompts.0: found nothing, expected \(length, 64\)"
    ):
        AdaClip.official.read(state, mini)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prompts": "dynamic"}, "prompts: found dynamic, expected static prompts among them"),
        ({"branches": "none"}, "branches: found none, expected at least one"),
        ({"fusion_weight": 1.0}, "fusion_weight: found 1.0, expected less than 1"),
        ({"taps": (2, 4)}, r"taps: found \(2, 4\), expected \[1, 2, 3, 4\]"),
    ],
)
def test_what_has_no_released_form(adaclip, settings, said):
    with pytest.raises(CheckpointError, match=said):
        AdaClip.official.write(adaclip(**settings))
