# pytest tests/golden/test_filo.py
"""FiLo against the official implementation's numbers on shared random weights (README_rest.md in data/)."""

from __future__ import annotations

import copy
import re
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import random_clip
import random_rest
import torch
import yaml
from goldens import HERE, close, golden_params
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from random_clip_c import clip_state_dict

from zsad_bench.backbones.families._open_clip import from_model
from zsad_bench.losses import mask_losses
from zsad_bench.methods._boxes import ALL, cell, inside, is_accepted, place
from zsad_bench.methods.filo import KERNELS, FiLo, FiLoConfig
from zsad_bench.prompts.load import read
from zsad_bench.types import Batch, Category, SampleInfo

AGAINST = "official code"  # in the README's table

TOKENS, UNIT, PATCH_LOGITS, LEVEL_MAPS = 5e-5, 5e-6, 2e-4, 5e-5
MAPS, LOGITS_OVER_TEMPERATURE, LOSSES = 1e-5, 3e-5, 1e-4  # MAPS: scores and image logits, too
GRADIENTS, DELTA, SMALL_DELTA = 2e-4, 1e-6, 1e-7  # gradients: of the largest entry
STORED = (0, 4, 1, 5, 2, 6, 3)  # y_6, v_12, y_12, v_18, y_18, v_24, y_24 among the levels

paths = pytest.mark.parametrize("path", golden_params("filo"))
captures = pytest.mark.parametrize("capture", ["clean", "official"])


def our_name(official: str) -> str:
    """Our parameter of the released state dict's name."""
    name = re.sub(r"^decoder_linear\.fc\.", "linear.", official)
    name = re.sub(r"^(normal|abnormal)_prompt_learner\.ctx$", r"ctx_\1", name)
    name = re.sub(r"^(normal|abnormal)_prompt_learner\.meta_net\.linear(\d)", r"shift_\1.fc\2", name)
    name = name.replace("adapter.fc.0", "adapter.fc1").replace("adapter.fc.2", "adapter.fc2")
    if match := re.fullmatch(r"decoder_cov\.fc_(\d)(\d)\.(\d)\.(\w+)", name):
        kernel = KERNELS.index((int(match[1]), int(match[2])))
        return f"shapes.{match[3]}.convolutions.{kernel}.{match[4]}"
    return name


def native_model(seed: int) -> CLIP:
    """The golden weights with their native 4 x 4 positions and QuickGELU, as OpenAI's files would be loaded."""
    c = random_rest.LARGE
    side = c["native"] * c["patch"]
    vision = CLIPVisionCfg(
        layers=c["layers"], width=c["width"], head_width=64, patch_size=c["patch"], image_size=side
    )  # fmt: skip
    text = CLIPTextCfg(context_length=77, vocab_size=49408, width=c["text"], heads=2, layers=c["text_layers"])
    model = CLIP(embed_dim=c["text"], vision_cfg=vision, text_cfg=text, quick_gelu=True)
    model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in clip_state_dict("large", seed).items()})
    return model.eval()


@cache
def world(path: Path) -> SimpleNamespace:
    """The golden arrays, the backbone that their seed draws, the images and a file of their detail lists."""
    golden = dict(np.load(path, allow_pickle=False))
    seed = int(golden["seed"])
    drawn = (random_rest.weights("filo", seed), random_rest.filo_params(seed), random_rest.inputs("filo", seed))
    names = [str(name) for name in golden["class_names"]]
    samples = [
        SampleInfo(f"golden/{i}", Category("golden", name, name, "object", "industrial"))
        for i, name in enumerate(names)
    ]
    batch = Batch(
        torch.from_numpy(golden["images"]),
        torch.from_numpy(golden["labels"]),
        torch.from_numpy(golden["masks"]).bool(),
        samples,
    )
    folder = tempfile.TemporaryDirectory()
    lists = {str(name): golden[f"class_details/{j}"].tolist() for j, name in enumerate(golden["class_list"])}
    details = Path(folder.name) / "details.yaml"
    # Quoted: what needs no quotes in the YAML that this writes may be a number in the YAML that the method reads.
    text = yaml.safe_dump({"details": lists}, sort_keys=False, default_style='"')
    details.write_text(text, encoding="utf-8")
    return SimpleNamespace(
        golden=golden, backbone=from_model(native_model(seed), "random"), batch=batch, drawn=drawn, params=drawn[1],
        lists=lists, details=details, folder=folder,
    )  # fmt: skip


def fresh(path: Path, capture: str = "clean", **settings: object) -> FiLo:
    """The method with the golden parameters."""
    w = world(path)
    size = w.batch.images.shape[-1]
    config = FiLoConfig(
        image_size=size, fidelity="official", layer_capture=capture, details=str(w.details), gaussian_sigma=4.0,
        **settings,
    )  # fmt: skip
    method = FiLo(w.backbone, config)
    own = {our_name(name): torch.from_numpy(value) for name, value in w.params.items()}
    method.load_own_state(own)
    return method.eval()


def one(batch: Batch, i: int) -> Batch:
    return Batch(batch.images[[i]], batch.labels[[i]], batch.masks[[i]], [batch.samples[i]])


@cache
def read_at_test(path: Path, capture: str) -> SimpleNamespace:
    """The method, what it is given of the three images, and the pair of each at every position."""
    w, method = world(path), fresh(path, capture)
    categories = [sample.category for sample in w.batch.samples]
    with torch.no_grad():
        features = method.encode(w.batch.images, w.batch.samples)
        image = method.image_features(features, adapted=True)
        pairs = [method.pairs(categories, image, [position] * len(categories)) for position in (*range(9), ALL)]
    return SimpleNamespace(method=method, features=features, image=image, pairs=torch.stack(pairs, 1))


@cache
def trained(path: Path, capture: str, stage: int, image: int) -> SimpleNamespace:
    """One image alone in a stage: its losses and gradients, then the same image after a step of the optimiser."""
    w, method = world(path), fresh(path, capture)
    batch, features = one(w.batch, image), read_at_test(path, capture).features.select([image])
    of = method.stages()[stage]
    method.begin_stage(of)
    optimizer = method.optimizer_for(of)
    losses = method.losses(features, batch)
    torch.stack(list(losses.values())).sum().backward()
    gradients = {name: p.grad.clone() for name, p in method.own_parameters().items() if p.grad is not None}
    before = {name: p.detach().clone() for name, p in method.own_parameters().items()}
    optimizer.step()
    after = method.losses(features, batch)
    deltas = {name: p.detach() - before[name] for name, p in method.own_parameters().items()}
    frozen = [name for name, p in method.backbone.named_parameters() if p.grad is not None]
    assert not frozen, f"the frozen backbone got gradients: {frozen[:3]}"
    return SimpleNamespace(losses=losses, gradients=gradients, deltas=deltas, after=sum(after.values()))


def check_gradients(golden: dict[str, np.ndarray], place: str, image: int, gradients: dict[str, torch.Tensor]) -> None:
    """All norms of an image, and the stored tensors of image 1."""
    norms = {key.removeprefix(f"{place}/grad_norm/"): value for key, value in golden.items()
             if key.startswith(f"{place}/grad_norm/")}  # fmt: skip
    assert {our_name(name) for name in norms} == set(gradients), "other parameters have gradients"
    for name, expected in norms.items():
        norm = gradients[our_name(name)].norm()
        close(norm, expected[image], GRADIENTS * float(expected[image]), f"gradient norm of {name}")
    if image != 1:
        return
    parts = {key: value for key, value in golden.items() if re.match(rf"{place}/grad(_part)?_image1/", key)}
    assert parts, f"no gradient of image 1 under {place}"
    for key, expected in parts.items():
        name = key.rpartition("image1/")[2]
        gradient = gradients[our_name(name)]
        if "grad_part" in key:
            gradient = gradient[:4] if gradient.ndim == 2 else gradient[:2, :4]
        close(gradient, expected, GRADIENTS * float(np.abs(expected).max()), f"gradient of {name}")


@paths
def test_the_draw_is_the_golden_one(path: Path) -> None:
    w = world(path)
    found = [random_clip.fingerprint(arrays) for arrays in w.drawn]
    assert found == list(w.golden["fingerprints"]), "weights, parameters or inputs differ from the golden draw"
    for name in ("images", "labels"):
        assert (w.drawn[2][name] == w.golden[name]).all(), f"{name} are not those of the recipe"
    assert (w.drawn[2]["masks"] == w.golden["masks"]).all(), "masks are not those of the recipe"


@paths
def test_sentences_and_token_ids(path: Path) -> None:
    w, method = world(path), read_at_test(path, "clean").method
    assert read("filo")["positions"] == w.golden["positions"].tolist(), "positions, or their order"
    for i, sample in enumerate(w.batch.samples):
        for side, found, ids in zip(
            ("normal", "abnormal"), method.sentences(sample.category), method.token_ids(sample.category), strict=True
        ):
            assert found == w.golden[f"sentences_{side}/{i}"].tolist(), f"{side} sentences of image {i}"
            expected = w.golden[f"tokens_{side}/{i}"]
            assert (ids.reshape(-1, ids.shape[-1]).numpy() == expected).all(), f"{side} token ids of image {i}"


def test_released_lists_are_those_of_the_committed_file() -> None:
    """Of no other file: its lists may be made up."""
    golden, released = np.load(HERE / "data" / "filo.npz", allow_pickle=False), read("filo")["details"]
    for j, name in enumerate(golden["class_list"].tolist()):
        assert released[name] == golden[f"class_details/{j}"].tolist(), f"details of {name}"


@paths
@captures
def test_block_outputs(path: Path, capture: str) -> None:
    golden, one_ = world(path).golden, read_at_test(path, capture)
    taps = one_.method._taps()
    found = torch.stack([one_.features.rows[taps[level]][0] for level in STORED])
    close(found, golden[f"{capture}/tokens_image0"], TOKENS, "block outputs in storage order")


@paths
def test_image_features(path: Path) -> None:
    golden, one_ = world(path).golden, read_at_test(path, "clean")
    close(one_.features.pooled("cls"), golden["test/cls_raw"], TOKENS, "image feature before the adapter")
    close(one_.image, golden["test/image_feature"], UNIT, "image feature after adapter and normalisation")


@paths
def test_texts_of_stage_one(path: Path) -> None:
    w, one_ = world(path), read_at_test(path, "clean")
    categories = [sample.category for sample in w.batch.samples]
    with torch.no_grad():
        image = one_.method.image_features(one_.features, adapted=False)
        normal, abnormal = one_.method.sentence_features(categories[:1], image[:1], [ALL])[0]
        pair = one_.method.pairs(categories, image)
    close(normal, w.golden["stage1/sentence_features_normal_image0"], UNIT, "normal sentences of image 0")
    close(abnormal, w.golden["stage1/sentence_features_abnormal_image0"], UNIT, "abnormal sentences of image 0")
    close(pair, w.golden["stage1/text_features"], UNIT, "pairs after the Frobenius division")
    close(one_.method.image_logits(image, pair), w.golden["stage1/image_logits"], MAPS, "image logits")


@paths
def test_texts_at_each_position(path: Path) -> None:
    close(read_at_test(path, "clean").pairs, world(path).golden["test/text_features_by_position"], UNIT, "pairs")


@paths
@captures
def test_patch_features_and_logits(path: Path, capture: str) -> None:
    golden, one_ = world(path).golden, read_at_test(path, capture)
    pair = one_.pairs[:, -1]
    with torch.no_grad():
        patches = torch.stack(one_.method.patch_features(one_.features), 1)
        maps = one_.method.level_maps(one_.features, pair)
    close(patches, golden[f"test/{capture}/patch_features"], UNIT, "patch features of each level")
    logits = torch.einsum("blnd,bsd->blns", patches, pair) / one_.method.config.temperature
    close(logits, golden[f"test/{capture}/none/patch_logits"], PATCH_LOGITS, "patch logits")
    levels = torch.stack([(each[1, 1] - each[1, 0] + 1) / 2 for each in maps])
    close(levels, golden[f"test/{capture}/none/level_maps_image1"], LEVEL_MAPS, "maps of each level before the blur")


@paths
@captures
def test_prediction_without_boxes(path: Path, capture: str) -> None:
    w, one_ = world(path), read_at_test(path, capture)
    with torch.no_grad():
        found = one_.method.score(one_.features, w.batch.samples)
    close(found.map, w.golden[f"test/{capture}/none/anomaly_map"], MAPS, "map")
    close(found.score, w.golden[f"test/{capture}/none/image_score"], MAPS, "image score")
    logits = one_.method.image_logits(one_.image, one_.pairs[:, -1])
    close(logits, w.golden["test/none/image_logits"], MAPS, "image logits")


def placed(path: Path) -> list:
    """Position, centre and region of the boxes of each image, read as the released code does."""
    golden, size = world(path).golden, world(path).batch.images.shape[-1]
    return [
        place(
            torch.from_numpy(golden[f"boxes/{i}/cxcywh"]), torch.from_numpy(golden[f"boxes/{i}/score"]),
            golden[f"boxes/{i}/kept"].tolist(), size, "official", "official", "official", "official",
        )
        for i in range(len(golden["class_names"]))
    ]  # fmt: skip


@paths
def test_boxes_are_placed(path: Path) -> None:
    golden, found = world(path).golden, placed(path)
    assert [each.position for each in found] == golden["test/boxes/position_index"].tolist(), "positions"
    close(torch.tensor([each.center for each in found]), golden["test/boxes/center"], 1e-5, "centres in pixels")
    regions = torch.stack([each.inside for each in found]).numpy()
    assert (regions == golden["test/boxes/inside"].astype(bool)).all(), "regions"


@paths
@captures
def test_prediction_with_boxes(path: Path, capture: str) -> None:
    w, one_, found = world(path), read_at_test(path, capture), placed(path)
    positions = torch.tensor([each.position for each in found])
    extra = {"position": positions, "inside": torch.stack([each.inside for each in found])}
    inside_all = {**extra, "inside": torch.ones_like(extra["inside"])}
    with torch.no_grad():
        whole = one_.method.score(replace(one_.features, extra=inside_all), w.batch.samples)
        attenuated = one_.method.score(replace(one_.features, extra=extra), w.batch.samples)
    close(whole.map, w.golden[f"test/{capture}/boxes/map_before_attenuation"], MAPS, "map before attenuation")
    close(attenuated.map, w.golden[f"test/{capture}/boxes/anomaly_map"], MAPS, "map")
    close(attenuated.score, w.golden[f"test/{capture}/boxes/image_score"], MAPS, "image score")
    pair = one_.pairs[torch.arange(len(found)), positions]
    close(one_.method.image_logits(one_.image, pair), w.golden["test/boxes/image_logits"], MAPS, "image logits")


@paths
def test_cells_at_518_pixels(path: Path) -> None:
    golden = world(path).golden
    found = [cell((x, y), 518, "official") for x, y in golden["position518/center"].tolist()]
    assert found == golden["position518/index"].tolist()


@paths
def test_phrases(path: Path) -> None:
    golden = world(path).golden
    classes = sorted({key.split("/")[1] for key in golden if key.startswith("phrases/")})
    assert classes, "the file has no phrases"
    for name in classes:
        phrase, kept, wanted = (golden[f"phrases/{name}/{key}"].tolist() for key in ("phrase", "kept", "allowed"))
        assert [is_accepted(each, wanted, "official") for each in phrase] == kept, f"phrases of {name}"
        if name in world(path).lists:
            category = Category("golden", name, name, "object", "industrial")
            assert sorted(read_at_test(path, "clean").method.query(category)) == sorted(wanted), f"query of {name}"


@paths
def test_regions_of_single_boxes(path: Path) -> None:
    golden, size = world(path).golden, world(path).batch.images.shape[-1]
    for box, expected in zip(golden["slices/boxes_xyxy"], golden["slices/inside_each"], strict=True):
        found = inside(torch.from_numpy(box)[None], size, "official").numpy()
        assert (found == expected.astype(bool)).all(), f"region of {box.tolist()}"


@paths
@captures
@pytest.mark.parametrize("dice", ["per_row", "per_image"])
def test_losses_of_stage_one(path: Path, capture: str, dice: str) -> None:
    w = world(path)
    method = copy.copy(read_at_test(path, capture).method)
    features = read_at_test(path, capture).features
    with torch.no_grad():
        image = method.image_features(features, adapted=False)
        maps = method.level_maps(features, method.pairs([s.category for s in w.batch.samples], image))
        terms = [[torch.stack(mask_losses(m[[i]], w.batch.masks[[i]], dice)) for m in maps] for i in range(len(image))]
    place = f"stage1/{capture}/" + ("" if dice == "per_row" else "per_image_dice/")
    expected = w.golden[f"{place}loss_focal_dicea_dicen_per_level"]
    close(torch.stack([torch.stack(each) for each in terms]), expected, LOSSES, f"terms of each level, Dice {dice}")
    method.config = replace(method.config, dice=dice)
    method._stage = method.stages()[0]
    for i in range(len(image)):
        batch = one(w.batch, i)
        with torch.no_grad():
            total = sum(method.losses(features.select([i]), batch).values())
        close(total, expected[i].sum(dtype=np.float64), LOSSES, f"total of image {i}, Dice {dice}")
        if dice == "per_row":
            close(total, w.golden[f"stage1/{capture}/loss_total"][i], LOSSES, f"stored total of image {i}")


@paths
@captures
@pytest.mark.parametrize("image", range(3))
def test_gradients_of_stage_one(path: Path, capture: str, image: int) -> None:
    check_gradients(world(path).golden, f"stage1/{capture}", image, trained(path, capture, 0, image).gradients)


@paths
def test_step_of_stage_one(path: Path) -> None:
    golden, found = world(path).golden, trained(path, "clean", 0, 1)
    deltas = {key.partition("_delta/")[2]: value for key, value in golden.items()
              if key.startswith("stage1/clean/step_image1_delta/")}  # fmt: skip
    assert deltas, "the file has no step"
    for name, expected in deltas.items():
        close(found.deltas[our_name(name)], expected, DELTA, f"step of {name}")
    close(found.after, golden["stage1/clean/loss_image1_after_step"], LOSSES, "loss after the step")


@paths
@pytest.mark.parametrize("image", range(3))
def test_stage_two(path: Path, image: int) -> None:
    w, found = world(path), trained(path, "clean", 1, image)
    close(found.losses["image"], w.golden["stage2/loss"][image], LOSSES, "cross-entropy of the image")
    check_gradients(w.golden, "stage2", image, found.gradients)
    logits = read_at_test(path, "clean").method.image_logits(
        read_at_test(path, "clean").image, read_at_test(path, "clean").pairs[:, -1]
    )
    expected = w.golden["stage2/image_logits_over_temperature"]
    close(logits[image] / FiLoConfig.image_temperature, expected[image], LOGITS_OVER_TEMPERATURE, "image logits / 0.07")


@paths
def test_step_of_stage_two(path: Path) -> None:
    golden, found = world(path).golden, trained(path, "clean", 1, 1)
    name = "adapter.fc.2.weight"
    close(found.deltas[our_name(name)], golden[f"stage2/step_image1_delta/{name}"], SMALL_DELTA, f"step of {name}")
    close(found.after, golden["stage2/loss_image1_after_step"], LOSSES, "loss after the step")


@paths
def test_three_images_at_once_are_three_images(path: Path) -> None:
    """The released code takes one image at a time; a batch here is its images, in predictions and in losses."""
    w, one_ = world(path), read_at_test(path, "clean")
    with torch.no_grad():
        together = one_.method.score(one_.features, w.batch.samples)
        for i in range(len(w.batch)):
            alone = one_.method.score(one_.features.select([i]), [w.batch.samples[i]])
            close(together.score[[i]], alone.score.numpy(), UNIT, "score alone and in the batch")
