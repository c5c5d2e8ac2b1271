# pytest tests/backbones/test_blip.py
"""BLIP's towers against transformers' own forward pass, its tokenizer, and weights with the vocabulary beside them."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import save_file

from tests.float32 import assert_close
from tests.miniature import MINI_BLIP, VOCABULARY, random_blip
from zsad_bench.backbones.families import blip
from zsad_bench.backbones.families.blip import from_model, read_vocabulary
from zsad_bench.backbones.load import architecture, listing, load_backbone, weights_at_hand
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.types import EncoderSpec, Tap

BASE, LARGE = "blip-itm-base-coco", "blip-itm-large-coco"
TEXTS = ["a photo of a nut", "Object", "an objéct, scratched."]

transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra `transformers`)")


@pytest.fixture(scope="module")
def backbone():
    return from_model(random_blip(), "mini", VOCABULARY)


def padded(tower) -> tuple[torch.Tensor, torch.Tensor]:
    ids = tower.tokenize(TEXTS)
    eot = tower.end_of_text(ids)
    ids = ids[:, : int(eot.max()) + 1]
    return ids, (torch.arange(ids.shape[1]) <= eot[:, None]).long()


# --- the pass ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_two_towers_are_transformers(backbone):
    model = random_blip()
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    ids, mask = padded(backbone.text_tower)
    cosines = model(ids, images, use_itm_head=False, attention_mask=mask).itm_score
    spec = EncoderSpec(backbone.forward_spec(32), frozenset(), frozenset({"cls"}))
    image = torch.nn.functional.normalize(backbone.encode_image(images, spec).pooled("cls"), dim=-1)
    text = torch.nn.functional.normalize(backbone.encode_prompts(TEXTS), dim=-1)
    assert_close(image @ text.T, cosines, "cosines of the whole model")
    unmasked = model(ids, images, use_itm_head=False).itm_score
    assert (unmasked - cosines).abs().max() > 1e-3, "padding would not have mattered here"


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (48, 48), (24, 40)])
def test_patches_and_positions_of_other_sizes(backbone, size):
    model = random_blip()
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    rows, columns = size[0] // 8, size[1] // 8
    spec = EncoderSpec(backbone.forward_spec(min(size), "bicubic"), frozenset({Tap(4)}), frozenset())
    found = backbone.encode_image(images, spec)
    expected = model.vision_proj(model.vision_model(images, interpolate_pos_encoding=True).last_hidden_state)
    assert_close(found.rows[Tap(4)], expected)
    assert found.grid == (rows, columns)


@torch.no_grad()
def test_learned_rows_between_start_and_words(backbone):
    """As a method puts them there: positions and the LayerNorm of the embeddings come behind the insertion."""
    tower, model = backbone.text_tower, random_blip()
    ids, mask = padded(tower)
    words = tower.embed_tokens(ids)
    context = torch.randn(3, 5, tower.width, generator=torch.Generator().manual_seed(2))
    rows = torch.cat([words[:, :1], context, words[:, 1:]], 1)
    mask = torch.cat([torch.ones(3, 5, dtype=torch.int64), mask], 1)
    hidden = model.text_encoder(inputs_embeds=rows.clone(), attention_mask=mask).last_hidden_state
    before = rows.clone()
    found = backbone.encode_text(rows, tower.end_of_text(ids) + 5)
    assert_close(found, model.text_proj(hidden[:, 0]))
    assert torch.equal(rows, before), "what was given was written to"
    full = torch.cat([rows, torch.randn(3, 4, tower.width)], 1)
    assert_close(backbone.encode_text(full, tower.end_of_text(ids) + 5, truncate_context=False), found, "padding")


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_the_activation_of_the_weights_is_known(activation):
    made = from_model(random_blip(activation), "mini", VOCABULARY)
    known = activation.replace("_", "")
    assert (made.vision.activation, made.text_tower.activation) == (known, known)
    assert made.forward_spec(32, activation=known) == made.forward_spec(32), "one pass under two names"


# --- texts ------------------------------------------------------------------------------------------------------------


def test_the_tokenizer_is_berts(backbone):
    theirs = transformers.BertTokenizer(vocab={word: number for number, word in enumerate(VOCABULARY)})
    for text in [*TEXTS, "", "PHOTO OF an object", "objects 42", "[SEP] [CLS]", "tab\there\nand  there"]:
        ids = backbone.text_tower.tokenize([text])
        end = int(backbone.text_tower.end_of_text(ids)[0])
        found = ids[0, : end + 1].tolist()
        if "[" in text:  # transformers takes these for the tokens themselves; a text that says so is a text
            assert found.count(VOCABULARY.index("[SEP]")) == 1
            continue
        assert found == theirs(text)["input_ids"], text


def test_pieces_by_hand(backbone):
    piece = VOCABULARY.index
    expected = ["[CLS]", "a", "n", "##u", "##t", ".", "object", "[SEP]"]
    assert backbone.text_tower.tokenize(["A nut. OBJECT"])[0, :8].tolist() == [piece(word) for word in expected]
    assert backbone.text_tower.tokenize(["objects"])[0, 1:3].tolist() == [piece("object"), piece("##s")]
    assert backbone.text_tower.tokenize(["7"])[0, 1] == piece("[UNK]")


def test_a_text_that_is_too_long_is_refused_not_cut(backbone):
    assert int(backbone.text_tower.end_of_text(backbone.text_tower.tokenize(["a " * 78]))) == 79
    with pytest.raises(UsageError, match="text of 81 tokens, mini reads 80; shorten"):
        backbone.text_tower.tokenize(["a " * 79])


def test_other_words_are_other_weights():
    one, same = (from_model(random_blip(), "mini", VOCABULARY) for _ in range(2))
    swapped = from_model(random_blip(), "mini", [*VOCABULARY[:-2], *reversed(VOCABULARY[-2:])])
    assert one.weights_hash == same.weights_hash != swapped.weights_hash


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (VOCABULARY[:2] + VOCABULARY[3:], r"it has no \[CLS\]"),
        ([*VOCABULARY, *map(str, range(20))], "it has 80 words, the model has 70"),
        ([*VOCABULARY, "photo"], "it has a word twice"),
    ],
)
def test_a_vocabulary_that_does_not_fit(words, said):
    with pytest.raises(BackboneError, match=f"^the vocabulary does not fit mini: {said}; take the one that came with"):
        from_model(random_blip(), "mini", words)


# --- models and weights -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "width", "blocks", "heads"), [(BASE, 768, 12, 12), (LARGE, 1024, 24, 16)])
def test_models_are_what_they_are_called(name, width, blocks, heads):
    made = architecture(f"Salesforce/{name}")
    tower, text = made.vision, made.text_tower
    assert (made.name, made.id, made.image_size) == (name, name, 384)
    found = (tower.width, tower.n_blocks, tower.n_heads, tower.patch_size, tower.native_grid, tower.joint_width)
    assert found == (width, blocks, heads, 16, (24, 24), 256)
    assert (text.width, text.n_blocks, text.context_length) == (768, 12, 512)
    assert {block.attention.self.num_attention_heads for block in text.blocks} == {12}, "8 is transformers' default"
    assert made.model.text_encoder.embeddings.LayerNorm.eps == 1e-12
    assert made.offers == {"text", "bidirectional_text", "cls", "tokens"}
    with pytest.raises(BackboneError, match=f"^{name} reads no text without its vocabulary, which comes with its we"):
        made.encode_prompts(["a nut"])


@pytest.fixture
def files(monkeypatch, tmp_path):
    """A folder as the hub has it, of a model that the base one now means; values of its own."""
    monkeypatch.setitem(blip.CONFIGS, BASE, MINI_BLIP)
    model = random_blip("gelu")
    with torch.no_grad():
        model.vision_proj.bias.add_(1)
    save_file({name: value.clone() for name, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return tmp_path


@torch.no_grad()
def test_a_folder_a_file_and_a_pickle(files, backbone):
    expected = from_model(random_blip("gelu"), BASE, VOCABULARY)
    expected.model.vision_proj.bias.add_(1)
    made = load_backbone(BASE, files)
    assert weights_at_hand(BASE, files)
    assert_close(made.encode_prompts(TEXTS), expected.encode_prompts(TEXTS))
    assert made.weights_hash != backbone.weights_hash
    assert load_backbone(f"Salesforce/{BASE}", files / "model.safetensors").id == made.id
    state = random_blip("gelu").state_dict()
    state["vision_proj.bias"] = state["vision_proj.bias"] + 1
    # As transformers stored it before 4.31, and as a trainer may leave it.
    state["text_encoder.embeddings.position_ids"] = torch.arange(80)[None]
    (files / "model.safetensors").unlink()
    torch.save({f"module.{name}": value for name, value in state.items()}, files / "pytorch_model.bin")
    assert load_backbone(BASE, files).id == made.id
    assert not [name for name, tensor in load_backbone(BASE, files).model.named_buffers() if tensor.is_meta]


def test_a_vocabulary_in_the_other_form(files):
    made = load_backbone(BASE, files)
    (files / "vocab.txt").unlink()
    ids = {word: number for number, word in reversed(list(enumerate(VOCABULARY)))}
    (files / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordPiece", "vocab": ids}}))
    assert load_backbone(BASE, files).id == made.id
    (files / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0, "b": 2}}}))
    with pytest.raises(
        BackboneError, match=r"^tokenizer\.json is not a vocabulary of word pieces \(its ids are not 0, "
    ):
        load_backbone(BASE, files)
    (files / "tokenizer.json").write_text("{")
    with pytest.raises(BackboneError, match=r"^tokenizer\.json is not a vocabulary of word pieces \(.*; download it"):
        load_backbone(BASE, files)


def test_a_line_is_a_word_whatever_is_in_it(tmp_path):
    (tmp_path / "vocab.txt").write_bytes("[PAD]\r\na\u2028b\r\n##c\r\n".encode())
    assert read_vocabulary(tmp_path / "vocab.txt") == ["[PAD]", "a\u2028b", "##c"]


def test_weights_without_a_vocabulary(files):
    (files / "vocab.txt").unlink()
    with pytest.raises(
        BackboneError,
        match=rf"^model\.safetensors has no vocabulary beside it; put vocab\.txt of Salesforce/{BASE} \(or",
    ):
        load_backbone(BASE, files)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("text_config", "num_attention_heads", 12),
        ("vision_config", "hidden_size", 96),
        ("text_config", "hidden_size", 8),
    ],
)
def test_a_configuration_that_contradicts_the_name_is_refused(files, part, key, value):
    config = {name: dict(MINI_BLIP[name]) for name in ("vision_config", "text_config")}
    (files / "config.json").write_text(json.dumps(config | {"architectures": ["BlipForImageTextRetrieval"]}))
    load_backbone(BASE, files)
    config[part][key] = value
    (files / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        BackboneError,
        match=rf"^config\.json beside the weights has {key} {value} in {part}, {BASE} has {MINI_BLIP[part][key]};",
    ):
        load_backbone(BASE, files)
    (files / "config.json").write_text(json.dumps({"vision_config": {}}))
    with pytest.raises(BackboneError, match="is not a BLIP configuration: KeyError"):
        load_backbone(BASE, files)


def test_weights_of_another_size(files, monkeypatch):
    monkeypatch.setitem(blip.CONFIGS, LARGE, {**MINI_BLIP, "image_text_hidden_size": 50})
    with pytest.raises(
        BackboneError, match=rf"^model\.safetensors does not fit {LARGE}: .* is \(48, .*expected \(50, "
    ):
        load_backbone(LARGE, files)


def test_the_hub(files, monkeypatch):
    asked = []

    def find(hub, names, title):
        asked.append((hub, names, title))
        return files / names[0]

    monkeypatch.setattr(blip, "find_weights", find)
    assert load_backbone(BASE).id == load_backbone(BASE, files).id
    assert asked == [
        (f"Salesforce/{BASE}/", ("model.safetensors", "pytorch_model.bin"), BASE),
        (f"Salesforce/{BASE}/", ("vocab.txt", "tokenizer.json"), f"the vocabulary of {BASE}"),
    ]
    here = {"model.safetensors"}
    monkeypatch.setattr(blip, "cached_weights", lambda hub, names, title: files if here & set(names) else None)
    assert not weights_at_hand(BASE), "texts cannot be read without the vocabulary"
    here.add("vocab.txt")
    assert weights_at_hand(BASE)


def test_without_the_network_a_line_says_what_to_give():
    with pytest.raises(
        BackboneError, match=rf"{BASE} is not on this machine and the model hub is switched off; give a"
    ):
        load_backbone(BASE)


@pytest.mark.slow
def test_without_transformers_a_line_says_how_to_install_it(monkeypatch, files):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr(blip, "find_spec", lambda name: None)
    said = rf"^{BASE} needs transformers, which is not installed; pip install 'zsad-bench\[transformers\]'$"
    for ask in (lambda: load_backbone(BASE, files), lambda: load_backbone(BASE), lambda: architecture(BASE)):
        with pytest.raises(BackboneError, match=said):
            ask()
    assert listing()[BASE].endswith("; first pip install 'zsad-bench[transformers]'")
    assert load_backbone("tiny").name == "tiny", "the other families are there all the same"
