"""BLIP's image-text retrieval models as transformers runs them: a ViT and a bidirectional BERT with contrastive heads.

Paper: Li et al., ICML 2022, arXiv 2201.12086. Official code: salesforce/BLIP (BSD-3-Clause); transformers (Apache-2.0)
has the same towers, and tests/golden compares ours with them on random weights. Weights: Salesforce's (BSD-3-Clause),
`Salesforce/blip-itm-base-coco` (ViT-B/16) and `Salesforce/blip-itm-large-coco` (ViT-L/16) of the model hub, both at
384 px, or a file or folder in that form. transformers is an extra: pip install 'zsad-bench[transformers]'.

Features are those of the contrastive heads, D = 256: the class token and the patches behind the final LayerNorm through
`vision_proj`, the text's [CLS] through `text_proj`. The matching head and the cross-attention are loaded and never run.
No factor on cosines is part of the checkpoint, so there is no logit scale.

The text tower has 12 heads, as it was trained; transformers' default is 8, and a `config.json` beside the weights that
contradicts what is known of a model is refused. The visual LayerNorm has transformers' eps, 1e-5; the official code
has 1e-6. The vocabulary comes with the weights (`vocab.txt`, or `tokenizer.json`), and is part of their hash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsad_bench.backbones.base import Backbone, BackboneFamily
from zsad_bench.backbones.forward import resize_positions
from zsad_bench.backbones.hub import cached_weights, find_weights
from zsad_bench.backbones.releases import WeightSource
from zsad_bench.backbones.weights import asked_weights, file_in, fit, read_state, without_values
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.types import Activation, PosInterp, sent

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import BlipForImageTextRetrieval

INSTALL = "pip install 'zsad-bench[transformers]'"
OWNER = "Salesforce/"  # of the models on the hub; their names are ours, with or without it
ON_HUB = ("model.safetensors", "pytorch_model.bin")
VOCABULARY = ("vocab.txt", "tokenizer.json")
CONFIG = "config.json"
# The image processor's of the released models: CLIP's.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

_TEXT = {
    "vocab_size": 30524,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}
_VISION = {"image_size": 384, "patch_size": 16, "hidden_act": "gelu", "layer_norm_eps": 1e-5}
_BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
CONFIGS: dict[str, dict[str, Any]] = {
    name: {"vision_config": {**_VISION, **size}, "text_config": _TEXT, "image_text_hidden_size": 256}
    for name, size in {"blip-itm-base-coco": _BASE, "blip-itm-large-coco": _LARGE}.items()
}
PARAMETERS = {"blip-itm-base-coco": 223_744_258, "blip-itm-large-coco": 446_128_642}
_ACTIVATIONS = {"gelu": "gelu", "quick_gelu": "quickgelu"}  # transformers' names and ours
_FIRST, _LAST, _UNKNOWN = "[CLS]", "[SEP]", "[UNK]"
_LONGEST_WORD = 100  # characters; what is longer is unknown, as in BERT's own tokenizer


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


_COMPUTED: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "quickgelu": _quick_gelu}


# --- towers -----------------------------------------------------------------------------------------------------------


class BlipVision:
    """The visual tower (`backbones.towers.TokenTower`)."""

    paths = frozenset({"plain", "tokens"})
    pos_interps: tuple[PosInterp, ...] = ("bilinear", "bicubic", "bicubic_antialias")
    n_prefix = 1

    def __init__(self, model: BlipForImageTextRetrieval) -> None:
        self.model, self.blocks = model, model.vision_model.encoder.layers
        self.joint_width, self.width = model.vision_proj.weight.shape
        self.n_blocks, self.n_heads = len(self.blocks), self.blocks[0].self_attn.num_heads
        config = model.config.vision_config
        side = config.image_size // config.patch_size
        self.patch_size, self.native_grid = config.patch_size, (side, side)
        self.activation = _ACTIVATIONS.get(config.hidden_act, config.hidden_act)
        self.activations = frozenset({self.activation, *_COMPUTED})

    def embed(self, images: Tensor, pos_interp: PosInterp) -> Tensor:
        """Patches, class token, positions."""
        parts = self.model.vision_model.embeddings
        patches = parts.patch_embedding(images)
        grid = (patches.shape[2], patches.shape[3])
        class_token = parts.class_embedding.expand(images.shape[0], 1, -1)
        tokens = torch.cat([class_token, patches.flatten(2).transpose(1, 2)], 1)
        return tokens + resize_positions(parts.position_embedding[0], 1, self.native_grid, grid, pos_interp)

    def block(self, number: int, tokens: Tensor, with_vv: bool, activation: Activation) -> tuple[Tensor, Tensor | None]:
        block = self.blocks[number - 1]
        attn, mlp = block.self_attn, block.mlp
        qkv = attn.qkv(block.layer_norm1(tokens)).unflatten(-1, (3, self.n_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)  # scale: head width ** -0.5
        out = tokens + attn.projection(mixed.transpose(1, 2).flatten(2))
        function = mlp.activation_fn if activation == "own" else _COMPUTED[activation]
        return out + mlp.fc2(function(mlp.fc1(block.layer_norm2(out)))), None

    @property
    def final_norm(self) -> nn.LayerNorm:
        return self.model.vision_model.post_layernorm

    def place_tokens(self, tokens: Tensor) -> Tensor:
        return tokens + self.model.vision_model.embeddings.position_embedding[0, 0].to(tokens.dtype)

    def norm(self, tokens: Tensor) -> Tensor:
        return self.model.vision_model.post_layernorm(tokens)

    def project(self, tokens: Tensor, norm: bool = True) -> Tensor:
        return self.model.vision_proj(self.norm(tokens) if norm else tokens)


class BlipText:
    """The bidirectional text tower (`towers.TextTower`), read at [CLS].

    name: of the backbone, for messages. vocabulary: word pieces, place = id; None where it is not known.
    """

    bidirectional = True

    def __init__(self, model: BlipForImageTextRetrieval, name: str, vocabulary: Sequence[str] | None) -> None:
        self.model, self.name, self.vocabulary = model, name, vocabulary
        self.blocks, config = model.text_encoder.encoder.layer, model.config.text_config
        self.width, self.n_blocks = config.hidden_size, len(self.blocks)
        self.context_length = config.max_position_embeddings
        self.activation = _ACTIVATIONS.get(config.hidden_act, config.hidden_act)
        self.activations = frozenset({self.activation, *_COMPUTED})

    @property
    def _words(self) -> Sequence[str]:
        if self.vocabulary is None:
            raise BackboneError(
                f"{self.name} reads no text without its vocabulary, which comes with its weights; load them"
            )
        return self.vocabulary

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return word_pieces(self._words)

    @cached_property
    def _ends(self) -> tuple[int, int]:
        """Ids of the first and of the last token of a text."""
        return self._words.index(_FIRST), self._words.index(_LAST)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        first, last = self._ends
        ids = torch.zeros(len(texts), self.context_length, dtype=torch.int64)
        for row, text in zip(ids, texts, strict=True):
            found = [first, *self._tokenizer.encode(text).ids, last]
            if len(found) > len(row):
                raise UsageError(f"text of {len(found)} tokens, {self.name} reads {len(row)}; shorten: {text!r}")
            row[: len(found)] = torch.tensor(found)
        return ids

    def end_of_text(self, ids: Tensor) -> Tensor:
        return (ids == self._ends[1]).int().argmax(dim=-1)

    def embed_tokens(self, ids: Tensor) -> Tensor:
        table = self.model.text_encoder.embeddings.word_embeddings
        return table(sent(ids, table.weight.device))

    def place(self, embeddings: Tensor) -> Tensor:
        """BERT's LayerNorm of the embeddings comes behind the positions."""
        parts = self.model.text_encoder.embeddings
        return parts.LayerNorm(embeddings + parts.position_embeddings.weight[: embeddings.shape[1]])

    def block(self, number: int, tokens: Tensor, eot: Tensor, activation: Activation) -> Tensor:
        block = self.blocks[number - 1]
        own = block.attention.self
        q, k, v = (
            part(tokens).unflatten(-1, (own.num_attention_heads, -1)).transpose(1, 2)
            for part in (own.query, own.key, own.value)
        )
        seen = torch.arange(tokens.shape[1], device=tokens.device) <= eot[:, None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None])
        after = block.attention.output
        out = after.LayerNorm(tokens + after.dense(mixed.transpose(1, 2).flatten(2)))
        function = block.intermediate.intermediate_act_fn if activation == "own" else _COMPUTED[activation]
        return block.output.LayerNorm(out + block.output.dense(function(block.intermediate.dense(out))))

    def read(self, tokens: Tensor, eot: Tensor, project: bool = True) -> Tensor:
        rows = tokens[:, 0]  # BERT norms at the end of each block
        return self.model.text_proj(rows) if project else rows


def word_pieces(vocabulary: Sequence[str]) -> Tokenizer:
    """BERT's uncased tokenizer: words and punctuation, lower-cased, without accents; longest known piece first."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    ids = {word: number for number, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordPiece(ids, unk_token=_UNKNOWN, max_input_chars_per_word=_LONGEST_WORD))
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(lowercase=True), BertPreTokenizer()
    return tokenizer


def from_model(model: BlipForImageTextRetrieval, name: str, vocabulary: Sequence[str] | None) -> Backbone:
    """The backbone around a model of transformers; the model is frozen and taken over, not copied.

    vocabulary: becomes a buffer of the model, as bytes, so that other words are other weights; None where values are
    not known either.

    Raises:
        BackboneError: a vocabulary without the tokens that every text has, or with more words than the model.
    """
    if vocabulary is not None:
        _check_vocabulary(vocabulary, model.config.text_config.vocab_size, name)
        written = torch.frombuffer(bytearray("\n".join(vocabulary).encode()), dtype=torch.uint8)
        model.register_buffer("vocabulary", written.to(model.text_proj.weight.device))
    return Backbone(model, name, BlipVision(model), BlipText(model, name, vocabulary), mean=MEAN, std=STD)


# --- the family -------------------------------------------------------------------------------------------------------


class Blip(BackboneFamily):
    title = "BLIP (transformers)"
    marks = ("vision_proj.weight",)
    example = "blip-itm-base-coco"
    vocabulary_with_weights = True

    @classmethod
    def names(cls) -> list[str]:
        return list(CONFIGS)

    @classmethod
    def knows(cls, name: str) -> bool:
        return name.removeprefix(OWNER) in CONFIGS

    @classmethod
    def listing(cls) -> dict[str, str]:
        extra = "" if _is_installed() else f"; first {INSTALL}"
        return {name: f"weights of {OWNER}{name}, or --weights a folder with its vocabulary{extra}" for name in CONFIGS}

    @classmethod
    def load(cls, name: str, weights: str | Path | None) -> Backbone:
        name = name.removeprefix(OWNER)
        model = _build(name)
        if weights is None:
            path = find_weights(_hub(name), ON_HUB, name)
            source, vocabulary = name, find_weights(_hub(name), VOCABULARY, f"the vocabulary of {name}")
            state = read_state(path, cls.marks)
        else:
            path = _asked_file(weights, name)
            source, state = path.name, read_state(path, cls.marks)
            _check_config(path.parent, name)
            vocabulary = _vocabulary_beside(path, name)
        # Releases of transformers before 4.31 stored the numbers of the positions, too.
        state.pop("text_encoder.embeddings.position_ids", None)
        fit(model, state, name, source)
        _count_positions(model)
        backbone = from_model(model, name, read_vocabulary(vocabulary))
        backbone.licence = "BSD-3-Clause" if weights is None else ""
        return backbone

    @classmethod
    def at_hand(cls, name: str, weights: str | Path | None) -> bool:
        name = name.removeprefix(OWNER)
        if weights is not None:
            return Path(asked_weights(weights, (), name)).exists()
        return all(cached_weights(_hub(name), files, name) is not None for files in (ON_HUB, VOCABULARY))

    @classmethod
    def sources(cls, name: str) -> list[WeightSource]:
        name = name.removeprefix(OWNER)
        files, licence = (ON_HUB, VOCABULARY), "BSD-3-Clause"
        return [WeightSource(name, "", _hub(name), files, licence, parameters=PARAMETERS[name])]

    @classmethod
    def architecture(cls, name: str) -> Backbone:
        name = name.removeprefix(OWNER)
        return from_model(_build(name), name, None)


def _is_installed() -> bool:
    return find_spec("transformers") is not None


def build_model(config: Mapping[str, Any], name: str) -> BlipForImageTextRetrieval:
    """A model of this configuration, as transformers initialises it; name: for the message.

    Raises:
        BackboneError: transformers is not installed.
    """
    if not _is_installed():
        raise BackboneError(f"{name} needs transformers, which is not installed; {INSTALL}")
    from transformers import BlipConfig, BlipForImageTextRetrieval

    return BlipForImageTextRetrieval(BlipConfig(**config))


def _build(name: str) -> BlipForImageTextRetrieval:
    """The model without values, at its native size.

    Raises:
        BackboneError: transformers is not installed.
    """
    with without_values():
        return build_model(CONFIGS[name], name)


def _count_positions(model: BlipForImageTextRetrieval) -> None:
    """Fills the one buffer that no state holds; without values, the model could not be moved to another device."""
    parts = model.text_encoder.embeddings
    parts.position_ids = torch.arange(parts.position_ids.shape[1])[None]


def _hub(name: str) -> str:
    return f"{OWNER}{name}/"


def _asked_file(weights: str | Path, name: str) -> Path:
    path = Path(asked_weights(weights, (), name))
    return file_in(path, ON_HUB) if path.is_dir() else path


def _check_config(folder: Path, name: str) -> None:
    """Nothing, unless a configuration lies in the folder that contradicts what is known of the model.

    Raises:
        BackboneError: it does; names the first value.
    """
    path = folder / CONFIG
    if not path.is_file():
        return
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        parts = {part: dict(config[part]) for part in ("vision_config", "text_config")}
    except (ValueError, KeyError, TypeError) as error:
        raise BackboneError(f"{CONFIG} beside the weights is not a BLIP configuration: {error!r}") from error
    for part, found in parts.items():
        for key, expected in CONFIGS[name][part].items():
            if found.get(key, expected) != expected:
                raise BackboneError(
                    f"{CONFIG} beside the weights has {key} {found[key]} in {part}, {name} has {expected}; take the "
                    "files of that model, or correct the value"
                )


def _vocabulary_beside(path: Path, name: str) -> Path:
    for file in VOCABULARY:
        if (path.parent / file).is_file():
            return path.parent / file
    raise BackboneError(
        f"{path.name} has no vocabulary beside it; put {VOCABULARY[0]} of {OWNER}{name} (or its {VOCABULARY[1]}) into "
        "the same folder"
    )


def read_vocabulary(path: Path) -> list[str]:
    """Word pieces in the order of their ids, from BERT's `vocab.txt` or the `tokenizer.json` of the tokenizers library.

    Raises:
        BackboneError: a file that cannot be read, or is neither.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix != ".json":
            return [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")]
        ids: Mapping[str, int] = json.loads(text)["model"]["vocab"]
        if sorted(ids.values()) != list(range(len(ids))):
            raise ValueError("its ids are not 0, 1, 2, …")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackboneError(f"{path.name} is not a vocabulary of word pieces ({error}); download it again") from error
    return sorted(ids, key=lambda word: ids[word])


def _check_vocabulary(words: Sequence[str], rows: int, name: str) -> None:
    missing = [token for token in (_FIRST, _LAST, _UNKNOWN) if token not in words]
    if missing or len(words) > rows or len(set(words)) < len(words):
        problem = (
            f"has no {missing[0]}" if missing
            else f"has {len(words)} words, the model has {rows}" if len(words) > rows
            else "has a word twice"
        )  # fmt: skip
        raise BackboneError(
            f"the vocabulary does not fit {name}: it {problem}; take the one that came with the weights"
        )
