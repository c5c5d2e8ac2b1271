# pytest tests/methods/test_filo.py
"""FiLo: details and sentences, places of boxes, the decoders, both stages, and a Grounding DINO of random weights."""

from __future__ import annotations

import math
import string
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
import yaml
from torch.nn import functional as F

from tests.float32 import assert_close
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.methods import _grounding_dino
from zsad_bench.methods._boxes import ALL, Found, best, candidates, cell, inside, is_accepted, place
from zsad_bench.methods._grounding_dino import caption, load_detector
from zsad_bench.methods.filo import KERNELS, LARGEST, FiLo, FiLoConfig, Shapes, blurred
from zsad_bench.prompts.details import read_details
from zsad_bench.prompts.load import read
from zsad_bench.runner.run_group import remarks
from zsad_bench.types import Category, Tap

SIZE = 48


def category(name: str) -> Category:
    return Category("made_up", name, name.replace("_", " "), "object", "industrial")


@pytest.fixture
def lists(tmp_path):
    """lists(content): the path of a YAML file."""

    def written(content: object) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        return str(path)

    return written


# --- details and sentences --------------------------------------------------------------------------------------------


def test_released_lists_are_all_there():
    words = read("filo")
    counts = [len(details) for details in words["details"].values()]
    assert len(counts) == 27, "15 classes of MVTec AD and 12 of VisA"
    assert (min(counts), max(counts), sum(counts) + 5 * 27) == (4, 10, 345), "details, and states of all classes"
    assert words["details"]["macaroni1"][0] == "uneven shape ", "the released blank decides about phrases"
    assert words["licence"].startswith("Apache-2.0")


def test_sentences_have_positions_innermost(make):
    normal, abnormal = make("filo").sentences(category("metal_nut"))
    filler = "X " * 12
    assert normal[:2] == [f"{filler}metal nut.", f"{filler}flawless metal nut."]
    assert len(normal) == 7
    assert abnormal[0] == f"{filler}abnormal metal nut with cracks at top left."
    assert abnormal[8] == f"{filler}abnormal metal nut with cracks at bottom right."
    assert abnormal[9] == f"{filler}abnormal metal nut with irregular threading at top left."
    assert abnormal[-1] == f"{filler}metal nut with damage at bottom right."
    assert len(abnormal) == (8 + 5) * 9


def test_numbered_classes_share_a_name_and_officially_their_details(make):
    for shared, first in ((False, "uneven shape "), (True, "irregular shape")):
        method = make("filo", shared_details=shared)
        assert f"abnormal macaroni with {first} at top left." in method.sentences(category("macaroni1"))[1][0]
        assert " macaroni with irregular shape at" in method.sentences(category("macaroni2"))[1][0]
    assert make("filo", fidelity="official").config.shared_details
    assert " abnormal pcb with" in make("filo").sentences(category("pcb3"))[1][0]
    by_card = make("filo", class_names="prompt_name").sentences(replace(category("pcb3"), prompt_name="circuit board"))
    assert " abnormal circuit board with" in by_card[1][0]


def test_a_class_without_a_list(make):
    unknown, known = category("gear"), category("carpet")
    assert make("filo").remark(unknown) == "without boxes, generic details"
    assert make("filo").remark(known) == "without boxes", "not the published method, and each row says so"
    assert make("filo", details="generic").remark(known) == "without boxes, generic details"
    assert " abnormal gear with contamination at bottom right." in make("filo").sentences(unknown)[1][44]
    line = r"FiLo: the released lists have no details of class 'gear' of made_up; take --set details=generic, or .*"
    with pytest.raises(UsageError, match=line):
        make("filo", details="released").remark(unknown)
    assert make("filo", details="released").remark(known) == "without boxes"


def test_lists_of_ones_own(make, lists):
    path = lists({"details": {"steel_gear": ["worn tooth", "rust"]}})
    method = make("filo", details=path)
    assert method.details_of(category("steel gear")) == ("worn tooth", "rust")
    assert method.remark(category("steel_gear")) == "without boxes"
    with pytest.raises(UsageError, match=r"the file .*mine.yaml have no details of class 'carpet'"):
        method.remark(category("carpet"))
    other = make("filo", details=lists({"details": {"steel gear": ["rust", "worn tooth"]}}))
    assert other.config.details_hash != method.config.details_hash, "other lists are another configuration"
    with pytest.raises(UsageError, match=f"details {path} changed since .* expected {method.config.details_hash}"):
        make("filo", details=path, details_hash=method.config.details_hash)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("details: [", "line 1: not YAML"),
        ("- a", "found no mapping `details:`"),
        ("details: {}", "found no mapping `details:`"),
        ("details: {gear: worn}", "class 'gear' has no list of texts"),
        ("details: {gear: []}", "class 'gear' has no list of texts"),
        ("details: {gear: [worn, 3]}", "class 'gear': 3 is not a text"),
        ("details: {gear: [' ']}", "class 'gear': ' ' is not a text"),
        ("details: {1: [worn]}", "the class 1 is not a text"),
        ("details: {a_b: [worn], a b: [worn]}", "class 'a b' is there twice"),
    ],
)
def test_lists_that_do_not_fit(lists, content, said):
    path = lists(content)
    with pytest.raises(UsageError, match=said) as caught:
        read_details(path)
    assert "\n" not in str(caught.value)


def test_lists_that_are_not_there(make, tmp_path):
    with pytest.raises(UsageError, match=r"none\.yaml: no such file"):
        make("filo", details=str(tmp_path / "none.yaml"))
    with pytest.raises(UsageError, match="details=released_list; expected one of released_or_generic"):
        make("filo", details="released_list")


def test_a_run_counts_its_remarks(make):
    class Module:
        def __init__(self, *names):
            self.of = [category(name) for name in names]

        def categories(self):
            return self.of

    class Run:
        method = make("filo")
        learned_from = type("Learned", (), {"modules": [Module("gear", "bottle")]})

    found = remarks(Run(), [Module("gear", "wheel")])
    plain, generic = "FiLo: without boxes for", "FiLo: without boxes, generic details for"
    assert found == [
        f"{generic} 2 classes: made_up/gear, made_up/wheel", f"{plain} 1 class: made_up/bottle"
    ]  # fmt: skip
    found = remarks(Run(), [Module("bottle")])
    assert found == [f"{generic} 1 class: made_up/gear", f"{plain} 1 class: made_up/bottle"]


# --- texts ------------------------------------------------------------------------------------------------------------


def test_only_the_sentences_of_a_position_are_encoded_and_chunks_change_nothing(make, batch):
    method = make("filo")
    categories = [sample.category for sample in batch.samples]
    image = F.normalize(torch.randn(len(categories), 48, generator=torch.Generator().manual_seed(1)), dim=-1)
    with torch.no_grad():
        everywhere = method.sentence_features(categories, image, [ALL] * 5)
        at = method.sentence_features(categories, image, [ALL, 0, 4, 8, 2])
        chunked = make("filo", sentence_chunk=7).sentence_features(categories, image, [ALL] * 5)
        alone = method.sentence_features(categories[1:2], image[1:2], [ALL])
    for (_, whole), (_, some), position in zip(everywhere, at, (ALL, 0, 4, 8, 2), strict=True):
        expected = whole if position == ALL else whole.unflatten(0, (-1, 9))[:, position]
        torch.testing.assert_close(some, expected, rtol=0, atol=1e-5)
    for one, other in zip(everywhere, chunked, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    torch.testing.assert_close(alone[0], everywhere[1], rtol=0, atol=1e-5)


def test_a_pair_has_the_length_of_one(make, batch):
    with torch.no_grad():
        pair = make("filo").pairs([sample.category for sample in batch.samples], None)
        text = make("filo").text_for(batch.samples)
    assert_close(pair.norm(dim=-1), torch.full((5, 2), math.sqrt(0.5)))
    assert_close(text.norm(dim=-1), torch.ones(5, 2))


def test_recomputed_text_blocks_give_the_same_gradients(make, batch):
    gradients = []
    for checkpoint_blocks in (False, True):
        method = make("filo", checkpoint_blocks=checkpoint_blocks)
        method.begin_stage(method.stages()[0])
        sum(method.losses(method.encode(batch.images, batch.samples), batch).values()).backward()
        gradients.append(method.ctx_abnormal.grad)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4 * float(gradients[0].abs().max()))


# --- decoders ---------------------------------------------------------------------------------------------------------


def test_the_fused_convolution_is_the_sum_of_all():
    torch.manual_seed(0)
    shapes = Shapes(4, 3)
    for parameter in shapes.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 4, 6, 5)
    slow = sum(
        F.conv2d(x, part.weight, part.bias, padding=(h // 2, w // 2))
        for part, (h, w) in zip(shapes.convolutions, KERNELS, strict=True)
    )
    assert KERNELS[LARGEST] == (7, 7)
    assert_close(shapes(x), slow)
    names = [name for name, _ in shapes.named_parameters()]
    of_sum = torch.autograd.grad(shapes(x).square().sum(), shapes.parameters())
    of_slow = torch.autograd.grad(slow.square().sum(), shapes.parameters())
    for name, one, other in zip(names, of_sum, of_slow, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()), msg=name)


def test_what_official_capture_reads(make):
    clean, official = make("filo"), make("filo", fidelity="official")
    assert clean.config.blocks == (1, 2, 3, 4)
    assert clean.config.first_vv_block == 2
    plain = [Tap(block, raw=True) for block in (1, 2, 3, 4)]
    assert clean._taps() == [*plain, *(Tap(block, 2, raw=True) for block in (2, 3, 4))]
    last = Tap(4, 2, raw=True)
    within = [Tap(block, raw=True, attended=True) for block in (3, 4)]
    assert official._taps() == [last, *within, plain[3], last, last, last]


def test_the_blur_has_a_short_kernel_and_a_reflected_border():
    a = math.exp(-1 / 32)
    side, middle = a / (1 + 2 * a), 1 / (1 + 2 * a)
    found = blurred(torch.tensor([[[0.0, 1.0, 0.0, 0.0]] * 4]), 3, 4.0)[0]
    expected = torch.tensor([2 * side, middle, side, 0.0]).expand(4, -1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert blurred(found[None], 3, 0.0) is not None
    assert torch.equal(blurred(found[None], 3, 0.0)[0], found)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"blocks": (2, 1)}, r"blocks=\[2, 1\]; expected different numbers of 1..4 in ascending order"),
        ({"blocks": (1, 5)}, r"blocks=\[1, 5\]; expected different numbers of 1..4"),
        ({"blocks": ()}, r"blocks=\[\]; expected"),
        ({"first_vv_block": 3}, "first_vv_block=3, and the first V-V level is read at block 2; take one of 1..2"),
        ({"blur_kernel": 4}, "blur_kernel=4; expected an odd number"),
        ({"mosaic_prob": 2.0}, "mosaic_prob=2.0; expected 0 to 1"),
        ({"boxes": "grounding_dino", "detector": "/no/such"}, "detector=/no/such: no such folder"),
    ],
)
def test_configurations_that_no_run_can_have(make, settings, said):
    with pytest.raises(UsageError, match=rf"FiLo: {said}") as caught:
        make("filo", **settings)
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_named_before_anything_is_loaded(mini, monkeypatch):
    monkeypatch.setattr(_grounding_dino, "find_spec", lambda name: None)
    config = FiLoConfig(image_size=SIZE, boxes="grounding_dino")
    with pytest.raises(UsageError, match=r"FiLo: boxes=grounding_dino needs transformers; pip install 'zsad-bench\["):
        FiLo.resolve(config, mini)


def test_stages_and_their_rates(make):
    method = make("filo")
    first, second = method.stages()
    rates = {}
    for group in method.optimizer_for(first).param_groups:
        assert group["weight_decay"] == 0.01
        assert group["betas"] == (0.5, 0.999)
        for parameter in group["params"]:
            name = next(name for name, p in method.own_parameters().items() if p is parameter)
            rates.setdefault(group["lr"], set()).add(name.partition(".")[0])
    slow = {"linear", "shapes"}
    assert rates == {1e-4: slow, 1e-3: {"ctx_normal", "ctx_abnormal", "shift_normal", "shift_abnormal"}}
    assert {group["lr"] for group in method.optimizer_for(second).param_groups} == {1e-5}
    assert (first.epochs, second.epochs, first.batch_size) == (15, 5, 1)


# --- boxes ------------------------------------------------------------------------------------------------------------


def test_candidates_pass_score_and_area():
    boxes = torch.tensor([[0.5, 0.5, 0.9, 0.9], [0.5, 0.5, 0.1, 0.1], [0.2, 0.2, 0.1, 0.1]])
    scores = torch.tensor([0.9, 0.25, 0.3])
    for reading in ("clean", "official"):
        assert candidates(boxes, scores, 0.25, 0.7, reading).tolist() == [2], "above, not at, the threshold"
    assert candidates(boxes, scores, 0.95, 0.7, "official").tolist() == [0], "the best, whatever it is"
    assert candidates(boxes, scores, 0.95, 0.7, "clean").tolist() == []
    assert candidates(boxes[:0], scores[:0], 0.25, 0.7, "official").tolist() == []


def test_readings_of_a_box():
    assert best(torch.tensor([0.587, 0.582, 0.581]), "official") == 2, "equal in two decimals: the last"
    assert best(torch.tensor([0.582, 0.587, 0.58]), "clean") == 1
    assert is_accepted("uneven coating", ["Uneven coating"], "clean")
    assert not is_accepted("uneven coating", ["Uneven coating"], "official")
    assert is_accepted("damaged", ["damage"], "official")
    assert not is_accepted("", ["damage"], "clean")
    assert cell((172.5, 100.0), 518, "official") == ALL
    assert cell((172.4, 100.0), 518, "clean") == 0
    assert cell((172.6, 100.0), 518, "clean") == 1
    assert cell((-3.0, 600.0), 518, "clean") == 6
    box = torch.tensor([[-4.0, 2.0, 3.9, 5.0]])
    assert inside(box, 10, "clean").nonzero().tolist() == [[y, x] for y in (2, 3, 4) for x in (0, 1, 2)]
    assert not inside(box, 10, "official").any(), "-4 counts from the right"


def test_a_corner_is_rounded_as_in_the_released_code():
    # In float32 the right edge is 20.999998: the width is added to the left edge. Centre plus half the width is 21.
    boxes, scores = torch.tensor([[0.221, 0.5, 0.058, 0.5]]), torch.tensor([0.9])
    found = place(boxes, scores, [True], 84, "official", "official", "official", "official")
    assert found.inside.any(0).nonzero()[:, 0].tolist() == [16, 17, 18, 19], "columns from 16.128 to 20.999998"


def test_images_without_an_accepted_box():
    boxes, scores = torch.tensor([[0.1, 0.1, 0.1, 0.1]]), torch.tensor([0.9])
    clean = place(boxes, scores, [False], SIZE)
    assert clean.position == ALL
    assert clean.inside.all(), "nothing is attenuated"
    official = place(boxes, scores, [False], SIZE, "official", "official", "official", "official")
    assert official.position == 4
    assert not official.inside.any(), "everything is attenuated"


def test_boxes_choose_sentences_and_attenuate_after_the_score(make, batch):
    method = make("filo")
    with torch.no_grad():
        features = method.encode(batch.images, batch.samples)
        inside_all = torch.ones(5, SIZE, SIZE, dtype=torch.bool)
        region = inside_all.clone()
        region[:, :, : SIZE // 2] = False
        positions = torch.tensor([0, 1, 2, 3, ALL])
        whole = method.score(replace(features, extra={"position": positions, "inside": inside_all}), batch.samples)
        part = method.score(replace(features, extra={"position": positions, "inside": region}), batch.samples)
        plain = method.score(features, batch.samples)
    assert torch.equal(part.score, whole.score)
    assert torch.equal(part.map[:, :, SIZE // 2 :], whole.map[:, :, SIZE // 2 :])
    assert_close(part.map[:, :, : SIZE // 2], 0.7 * whole.map[:, :, : SIZE // 2])
    same = [bool((plain.map[i] - whole.map[i]).abs().max() < 1e-5) for i in range(5)]
    assert same == [False, False, False, False, True], "the position changes the texts"


def test_a_query_and_its_caption(make):
    query = make("filo").query(category("pill"))
    assert query[:6] == ["anomaly", "damage", "broken", "defect", "contamination", "irregular shape"]
    assert caption(query[4:7]) == "contamination . irregular shape . crumbling texture."
    assert caption(["Uneven coating"]) == "uneven coating."
    assert len(make("filo").query(category("gear"))) == 5


# --- a Grounding DINO of random weights -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector_folder(tmp_path_factory):
    """A random Grounding DINO of two blocks, with a tokenizer of letters, as transformers saves them."""
    if find_spec("transformers") is None:
        pytest.skip("transformers is not installed: pip install 'zsad-bench[transformers]'")
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        SwinConfig,
    )

    folder = tmp_path_factory.mktemp("grounding_dino")
    # Ids of [CLS], [SEP], "." and "?" are written down in the model.
    vocabulary = [f"[unused{i}]" for i in range(1100)]
    fixed = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    letters = dict(enumerate([*string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase)], start=1030))
    for number, token in {**fixed, **letters}.items():
        vocabulary[number] = token
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GroundingDinoConfig(
            backbone_config=SwinConfig(
                image_size=SIZE, patch_size=4, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2],
                window_size=3, out_features=["stage2", "stage3", "stage4"],
            ),
            text_config=BertConfig(
                vocab_size=1100, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
            ),
            num_queries=6, d_model=64, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        )  # fmt: skip
        model = GroundingDinoForObjectDetection(config).eval()
    model.save_pretrained(folder)
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def test_a_detector_answers_image_by_image(detector_folder):
    detector = load_detector(str(detector_folder), "FiLo").eval()
    images = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    queries = [["dent", "worn tooth"], ["rust"]]
    found = detector(images, queries, 0.0)
    for i in range(2):
        assert found[i].boxes.shape == (6, 4)
        assert found[i].boxes.min() >= 0
        assert found[i].boxes.max() <= 1
        assert found[i].scores.shape == (6,)
        assert found[i].phrases == [["dent. worn tooth.", "rust."][i]] * 6, "all tokens are above 0, without the marks"
        alone = detector(images[[i]], [queries[i]], 0.0)[0]
        torch.testing.assert_close(alone.boxes, found[i].boxes, rtol=0, atol=1e-5)
    assert detector(images, queries, 1.0)[0].phrases == [""] * 6
    with pytest.raises(UsageError, match=r"a query of .* tokens, the detector reads 256"):
        detector(images[:1], [["worn tooth"] * 60], 0.25)


@pytest.mark.slow
def test_filo_with_its_detector(make, predict, batch, detector_folder):
    method = make("filo", boxes="grounding_dino", detector=str(detector_folder))
    assert set(method.frozen_networks) == {"detector"}
    assert method.remark(category("carpet")) == "", "the published method"
    assert method.remark(category("gear")) == "generic details"
    assert not any(name.startswith("detector") for name in method.own_state())
    extra = method.extra_features(batch.images, batch.samples)
    assert extra["position"].shape == (5,)
    assert extra["inside"].shape == (5, SIZE, SIZE)
    found = predict(method, batch)
    alone = predict(method, replace_images(batch, [2]))
    torch.testing.assert_close(alone.map[0], found.map[2], rtol=0, atol=1e-5)
    assert method.train().extra_features(batch.images, batch.samples) == {}, "training knows of no boxes"


def replace_images(batch, rows):
    return replace(batch, images=batch.images[rows], labels=batch.labels[rows], masks=batch.masks[rows],
                   samples=[batch.samples[row] for row in rows])  # fmt: skip


def test_what_a_detector_says_becomes_a_place(make):
    method = make("filo")
    boxes = torch.tensor([[0.8, 0.2, 0.2, 0.2], [0.2, 0.8, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9]])
    found = Found(boxes, torch.tensor([0.4, 0.6, 0.9]), ["cracks", "nut", "damage"])
    placed = method.placed(found, category("metal_nut"))
    assert placed.position == 2, "the best is too large, and the next one's phrase is not accepted"
    assert placed.inside.sum() == 10 * 10, "rows 4..13 of 48, cut to whole pixels, and columns 33..42"


def test_detectors_that_cannot_be_loaded(detector_folder, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(BackboneError, match="is a bert, not a Grounding DINO"):
        load_detector(str(tmp_path), "FiLo")
    (tmp_path / "config.json").write_bytes((detector_folder / "config.json").read_bytes())
    with pytest.raises(BackboneError, match=r"FiLo: detector .* cannot be loaded") as caught:
        load_detector(str(tmp_path), "FiLo")
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(_grounding_dino, "reachable", lambda url: False)
    with pytest.raises(BackboneError, match="is not on this machine and the model hub is out of reach; give its"):
        load_detector("nobody/no-such-detector", "FiLo")
