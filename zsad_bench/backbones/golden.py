"""The features of one fixed image and one fixed sentence, as a check that weights compute what they computed before.

A hash says that a file is the same; these say that this machine, this torch and this activation read it the same way.
The image is a formula in whole numbers, so that its pixels are the same everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zsad_bench.atomic import write_whole
from zsad_bench.backbones.base import Backbone
from zsad_bench.errors import BackboneError
from zsad_bench.types import EncoderSpec, Pooled

RULE = "image 1"  # changes with what `fixed_image` or `SENTENCE` gives
SENTENCE = "a photo of a damaged metal nut."
SHIPPED = Path(__file__).parent / "tiny_clip" / "golden.json"
# Share of the largest value. Float32 on other processors and threads differs by some 1e-6; the other GELU by 1e-1.
TOLERANCE = 1e-3
_DIGITS = 7  # significant ones of a stored value: what float32 has


class Golden(NamedTuple):
    """Features of weights. image: (D,), text: (D,) or none, logit_scale: none where the model has none."""

    image: Tensor
    text: Tensor | None
    logit_scale: float | None


def fixed_image(side: int) -> Tensor:
    """(3,side,side) float32 in [0, 1]: red rises to the right, green downwards, blue is a checkerboard of 16 pixels."""
    steps = torch.arange(side, dtype=torch.int64)
    rising = 255 * steps // max(side - 1, 1)
    board = 255 * ((steps[:, None] // 16 + steps[None, :] // 16) % 2)
    channels = (rising[None, :].expand(side, side), rising[:, None].expand(side, side), board)
    return torch.stack(channels).to(torch.float32) / 255


def golden(backbone: Backbone) -> Golden:
    """The features of a backbone with values, at its native size: pooled and projected, not normalised."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (backbone.mean, backbone.std))
    images = ((fixed_image(backbone.image_size) - mean) / std)[None]
    name: Pooled = "cls" if "cls" in backbone.offers else "mean"
    spec = EncoderSpec(backbone.forward_spec(backbone.image_size), frozenset(), frozenset({name}))
    with torch.no_grad():
        image = backbone.encode_image(images.to(backbone.device), spec).pooled(name)[0].cpu()
        text = backbone.encode_prompts([SENTENCE])[0].cpu() if backbone.text is not None else None
    scale = None if backbone.logit_scale is None else float(backbone.logit_scale)
    return Golden(image, text, scale)


def difference(one: Golden, other: Golden) -> float:
    """The largest difference of two features, as a share of their largest value; inf where they have other shapes."""
    largest = 0.0
    for a, b in ((one.image, other.image), (one.text, other.text), (_tensor(one), _tensor(other))):
        if a is None or b is None:
            if a is not b:
                return float("inf")
            continue
        if a.shape != b.shape:
            return float("inf")
        size = max(float(b.abs().max()), 1e-12)
        largest = max(largest, float((a.double() - b.double()).abs().max()) / size)
    return largest


def _tensor(features: Golden) -> Tensor | None:
    return None if features.logit_scale is None else torch.tensor([features.logit_scale], dtype=torch.float64)


# --- records ----------------------------------------------------------------------------------------------------------


class GoldenRecord(NamedTuple):
    """Features as they were recorded. weights_hash: of the values. about: where, with what, from which file."""

    weights_hash: str
    title: str
    features: Golden
    about: dict[str, str]


def read_records(path: Path) -> list[GoldenRecord]:
    """What a file of records holds; [] where there is none.

    Raises:
        BackboneError: it is not such a file, or its features are of another image.
    """
    if not path.is_file():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["rule"] != RULE:
            raise BackboneError(
                f"{path} was recorded with {content['rule']}, this is {RULE}; record again, or remove it"
            )
        return [_record(one) for one in content["records"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackboneError(f"{path} is not a file of recorded features ({error!r}); remove it") from None


def add_record(path: Path, record: GoldenRecord) -> None:
    """Puts a record into a file, in the place of one with the same title.

    Raises:
        BackboneError: as `read_records`. RowError: it cannot be written.
    """
    others = [one for one in read_records(path) if one.title != record.title]
    lines = ",\n".join(json.dumps(_as_object(one)) for one in [*others, record])
    write_whole(path, f'{{"rule": {json.dumps(RULE)}, "records": [\n{lines}\n]}}\n'.encode())


def matching(records: Sequence[GoldenRecord], weights_hash: str, title: str) -> GoldenRecord | None:
    """The record of these values, else the one under this title, else none."""
    by_values = next((one for one in records if one.weights_hash == weights_hash), None)
    return by_values or next((one for one in records if one.title == title), None)


def _record(content: Mapping[str, Any]) -> GoldenRecord:
    text, scale = content["text"], content["logit_scale"]
    features = Golden(
        torch.tensor(content["image"], dtype=torch.float32),
        None if text is None else torch.tensor(text, dtype=torch.float32),
        None if scale is None else float(scale),
    )
    return GoldenRecord(str(content["weights_hash"]), str(content["title"]), features, dict(content["about"]))


def _as_object(record: GoldenRecord) -> dict[str, Any]:
    features = record.features
    return {
        "title": record.title,
        "weights_hash": record.weights_hash,
        "about": record.about,
        "logit_scale": features.logit_scale,
        "image": _numbers(features.image),
        "text": None if features.text is None else _numbers(features.text),
    }


def _numbers(values: Tensor) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in values.tolist()]
