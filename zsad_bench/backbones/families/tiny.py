"""The tiny CLIP that ships with the package, and how it is stored.

`config.json` holds the architecture, the preprocessing and where it comes from; `weights.safetensors` holds the
parameters in half precision, of the token table only the rows that were trained. All other rows are drawn anew from
a fixed seed, so that unknown words have an embedding without taking space.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.model import CLIP
from torch import Tensor

from zsad_bench.atomic import whole_file
from zsad_bench.backbones.base import Backbone, BackboneFamily
from zsad_bench.backbones.families._open_clip import build_model, fit, from_model
from zsad_bench.backbones.releases import WeightSource
from zsad_bench.backbones.weights import LOCAL_DIR, hash_weights, read_state
from zsad_bench.errors import BackboneError

ASSET = Path(__file__).parents[1] / "tiny_clip"
ASSET_FILES = ("weights.safetensors", "config.json")
FILLER: dict[str, Any] = {"seed": 0, "std": 0.02}  # written into every configuration saved; loading reads it from there
_TABLE = "token_embedding.weight"


class Tiny(BackboneFamily):
    title = "the embedded tiny CLIP"
    marks = ("token_rows",)
    example = "tiny"

    @classmethod
    def names(cls) -> list[str]:
        return ["tiny"]

    @classmethod
    def listing(cls) -> dict[str, str]:
        return {"tiny": "the embedded tiny CLIP of the demo suite"}

    @classmethod
    def load(cls, name: str, weights: str | Path | None) -> Backbone:
        backbone = load_tiny(_folder(weights))
        backbone.licence = "Apache-2.0" if weights is None else ""
        return backbone

    @classmethod
    def at_hand(cls, name: str, weights: str | Path | None) -> bool:
        return all((_folder(weights) / file).is_file() for file in ASSET_FILES)

    @classmethod
    def sources(cls, name: str) -> list[WeightSource]:
        return [WeightSource(name, licence="Apache-2.0", packaged=ASSET / ASSET_FILES[0])]

    @classmethod
    def brings_weights(cls, name: str) -> bool:
        return True

    @classmethod
    def architecture(cls, name: str) -> Backbone:
        config = _read_config(ASSET)
        return from_model(build_model(config["model_cfg"], "tiny"), "tiny", **config["preprocess_cfg"])


def _folder(weights: str | Path | None) -> Path:
    return ASSET if weights is None else Path(str(weights).removeprefix(LOCAL_DIR))


def filler_table(vocab_size: int, width: int, seed: int = FILLER["seed"], std: float = FILLER["std"]) -> Tensor:
    """Rows of words never trained, (vocab_size,width) float32; the same numbers on every platform."""
    draw = np.random.RandomState(seed).standard_normal((vocab_size, width))  # the legacy stream is frozen by numpy
    return torch.from_numpy((draw * std).astype(np.float32))


def save_tiny(model: CLIP | Backbone, path: Path, used_token_ids: Iterable[int], config: dict[str, Any]) -> None:
    """Writes `config.json` and `weights.safetensors` into the folder `path` (created), replacing what was there.

    used_token_ids: rows of the token table to store, start and end of text among them. Rows left out must be those of
    `filler_table`, else the saved model would not be the trained one.
    config: `model_cfg` (open_clip), `preprocess_cfg` (mean, std), `provenance`; the hash of what loading will give
    and the filler are added.

    Raises:
        ValueError: a needed row is missing, an unstored row was trained, or a value does not fit half precision.
    """
    from safetensors.torch import save

    state = (model.model if isinstance(model, Backbone) else model).state_dict()
    rows = torch.tensor(sorted(set(used_token_ids)), dtype=torch.int32)
    table = state.pop(_TABLE).detach().cpu().float()
    _check_rows(rows, table)
    stored = {k: v.detach().cpu().half().contiguous() for k, v in state.items()}
    stored |= {"token_rows": rows, "token_values": table[rows.long()].half()}
    overflow = [k for k, v in stored.items() if not torch.isfinite(v).all()]
    if overflow:
        raise ValueError(f"{overflow[0]} does not fit half precision")
    vocab_size, width = table.shape
    weights_hash = hash_weights(_expand(dict(stored), vocab_size, width, FILLER))
    full = config | {"token_filler": FILLER, "weights_hash": weights_hash}
    for name, content in zip(ASSET_FILES, (save(stored), json.dumps(full, indent=2).encode() + b"\n"), strict=True):
        with whole_file(path / name) as file:
            file.write(content)


def load_tiny(path: Path = ASSET) -> Backbone:
    """The tiny CLIP in the folder `path`, by default the embedded one.

    Raises:
        BackboneError: a file is missing or damaged, or the weights are not those the configuration was saved with.
    """
    config = _read_config(path)
    model_config, filler, expected = config["model_cfg"], config["token_filler"], config["weights_hash"]
    state = read_state(path / "weights.safetensors", Tiny.marks)
    if "token_values" not in state:
        raise BackboneError(f"weights.safetensors in {path} is not a tiny CLIP: token_values is missing")
    model = build_model(model_config, "tiny")
    width = model_config["text_cfg"]["width"]
    fit(model, _expand(state, model.vocab_size, width, filler), "tiny", f"{path.name}/weights.safetensors")
    backbone = from_model(model, "tiny", **config["preprocess_cfg"])
    if backbone.weights_hash != expected:
        raise BackboneError(
            f"weights of the tiny CLIP in {path} are damaged: hash {backbone.weights_hash[:12]}, "
            f"recorded {expected[:12]}; install the package again"
        )
    return backbone


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
        config["model_cfg"]["text_cfg"]["width"], config["token_filler"], config["weights_hash"]
        config["preprocess_cfg"] = {key: config["preprocess_cfg"][key] for key in ("mean", "std")}
    except OSError:
        remedy = "install the package again" if path == ASSET else "name a folder that save_tiny wrote, or no weights"
        raise BackboneError(f"the tiny CLIP is missing: no config.json in {path}; {remedy}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BackboneError(f"config.json of the tiny CLIP in {path} is damaged: {error!r}") from error
    return config


def _expand(stored: dict[str, Tensor], vocab_size: int, width: int, filler: dict[str, Any]) -> dict[str, Tensor]:
    """State dict with the whole token table, from one with the stored rows."""
    table = filler_table(vocab_size, width, filler["seed"], filler["std"])
    rows, values = stored.pop("token_rows").long(), stored.pop("token_values")
    if values.shape != (len(rows), width) or (len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < vocab_size):
        raise BackboneError(f"token_values is {tuple(values.shape)}, expected ({len(rows)}, {width}) and known rows")
    table[rows] = values.float()
    return stored | {_TABLE: table}


def _check_rows(rows: Tensor, table: Tensor) -> None:
    ends = {len(table) - 2, len(table) - 1}  # start and end of text are CLIP's last two tokens
    if not ends <= set(rows.tolist()):
        raise ValueError(f"used_token_ids lacks start or end of text: {sorted(ends)}")
    unstored = torch.ones(len(table), dtype=torch.bool)
    unstored[rows.long()] = False
    changed = (table != filler_table(*table.shape)).any(dim=1) & unstored
    if changed.any():
        raise ValueError(
            f"{int(changed.sum())} rows of the token table are neither stored nor those of filler_table "
            f"(first: {int(changed.nonzero()[0])}); initialise the table with it and freeze unused rows"
        )
