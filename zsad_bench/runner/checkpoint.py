"""Checkpoints: what a method learned, its resolved configuration and the prior it learned from, as safetensors.

What the leak guard needs of the images that were learned from goes along (names, hashes of pixels and signatures, some
330 bytes per image), so that it works where those images are not. Checkpoints of format 1 and imported ones have none.

The backbone is never inside; its id is, and loading refuses another one. An imported official checkpoint does not know
its weights: it carries the backbone's name alone, and loading refuses another architecture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as tensors_as_bytes

from zsad_bench import registry
from zsad_bench.atomic import whole_file
from zsad_bench.backbones.base import Backbone
from zsad_bench.data import looks
from zsad_bench.data.overlap import Seen
from zsad_bench.data.pixels import PIXEL_RULE
from zsad_bench.errors import CheckpointError, UsageError
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.planning.configure import configure

FORMAT = "zsad-bench checkpoint 2"
WITHOUT_IMAGES = "zsad-bench checkpoint 1"  # older ones, and those that know no images
_IMAGES = ("learned_from.names", "learned_from.pixels", "learned_from.signatures")
_RULE = f"pixels {PIXEL_RULE}, signatures {looks.RULE}"  # hashes made by another rule compare with nothing


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself.

    backbone: the id, or the name alone where the weights are not known. config: resolved. training: seed, auxiliary
    datasets, prior and its hash; of an imported one also its origin, file and sha256. frozen_networks: name -> hash of
    the weights that it was trained beside; they are not inside either.
    """

    method: str
    version: str
    backbone: str
    config: dict[str, Any]
    training: dict[str, Any]
    frozen_networks: dict[str, str] = field(default_factory=dict)


def save(path: Path, method: ZeroShotMethod, training: Mapping[str, Any], images: Seen | None = None) -> None:
    """Writes a method's learned tensors; the file appears whole or not at all.

    images: what it learned from, for the leak guard; None where that is not known.
    """
    header = {
        "format": WITHOUT_IMAGES if images is None else FORMAT,
        "method": method.registry_name(),
        "version": method.version,
        "backbone": method.backbone.id,
        "config": json.dumps(method.resolved_config()),
        "training": json.dumps(dict(training)),
        **({} if images is None else {"images": _RULE}),
        **({"frozen_networks": json.dumps(method.frozen_networks)} if method.frozen_networks else {}),
    }
    tensors = {k: v.contiguous() for k, v in method.own_state().items()} | _tensors(images)
    with whole_file(path) as file:
        file.write(tensors_as_bytes(tensors, metadata=header))


def read_header(path: Path) -> Header:
    """The header of a checkpoint file.

    Raises:
        CheckpointError: missing, truncated, or not a checkpoint of this project.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path}: no such file")
    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {path}: unreadable or truncated ({error}); train again or copy it again"
        ) from None
    if meta.get("format") not in (FORMAT, WITHOUT_IMAGES):
        raise CheckpointError(
            f"checkpoint {path}: its format is '{meta.get('format', 'unknown')}', expected '{FORMAT}'"
        )
    return Header(
        meta["method"],
        meta["version"],
        meta["backbone"],
        json.loads(meta["config"]),
        json.loads(meta["training"]),
        json.loads(meta.get("frozen_networks", "{}")),
    )


def read_images(path: Path) -> Seen | None:
    """What a checkpoint's method learned from; None where the file does not say, or says it by another rule.

    Raises:
        CheckpointError: the file is unreadable, or its content is not what a checkpoint holds.
    """
    read_header(path)
    with safe_open(path, "pt") as file:
        if (file.metadata() or {}).get("images") != _RULE:
            return None
        there = set(file.keys())
        names, pixels, signatures = (file.get_tensor(key) if key in there else torch.empty(0) for key in _IMAGES)
    said = names.numpy().tobytes().decode(errors="surrogateescape").split("\0") if names.numel() else []
    sizes = {key: tensor.dtype == dtype and tuple(tensor.shape) == (len(said), width) for key, tensor, dtype, width in (
        (_IMAGES[1], pixels, torch.uint8, 16), (_IMAGES[2], signatures, torch.int8, looks.WAVES**2)
    )}  # fmt: skip
    if odd := [key for key, fits in sizes.items() if not fits]:
        raise CheckpointError(f"checkpoint {path}: {odd[0]} does not fit its {len(said)} names; copy it again")
    return Seen(tuple(said), pixels.numpy(), signatures.numpy())


def _tensors(images: Seen | None) -> dict[str, torch.Tensor]:
    if images is None:
        return {}
    names = "\0".join(images.names).encode(errors="surrogateescape")
    arrays = (np.frombuffer(names, np.uint8), images.pixels, images.signatures)
    return {key: torch.from_numpy(array.copy()) for key, array in zip(_IMAGES, arrays, strict=True)}


def load(path: Path, backbone: Backbone, method: str | None = None) -> tuple[ZeroShotMethod, Header]:
    """The method of a checkpoint, with its learned tensors, on this backbone.

    method: the name that was asked for; None takes the checkpoint's own.

    Raises:
        CheckpointError: of another method or backbone, or its tensors do not fit.
    """
    header = read_header(path)
    if method is not None and method != header.method:
        raise CheckpointError(
            f"checkpoint {path}: is of {header.method}, asked for {method}; use --method {header.method}"
        )
    if header.backbone not in (backbone.id, backbone.name):
        raise CheckpointError(
            f"checkpoint {path}: of backbone {header.backbone}, this run has {backbone.id}; use the same weights"
        )
    return restore(path, header, backbone), header


def restore(path: Path, header: Header, backbone: Backbone) -> ZeroShotMethod:
    """The method of a checkpoint whose header was read, on a backbone of the right architecture.

    Raises:
        CheckpointError: of another version, or its tensors do not fit.
    """
    cls = registry.load("methods", header.method)
    if cls.version != header.version:
        raise CheckpointError(
            f"checkpoint {path}: version {header.version} of {header.method}, this is {cls.version}; train again"
        )
    try:
        built = cls(backbone, configure(header.method, header.config))
    except UsageError as error:
        raise CheckpointError(f"checkpoint {path}: its configuration is not of this version ({error})") from None
    for name in sorted(built.frozen_networks.keys() | header.frozen_networks.keys()):
        was, here = (hashes.get(name, "none") for hashes in (header.frozen_networks, built.frozen_networks))
        if was != here:
            raise CheckpointError(
                f"checkpoint {path}: trained beside '{name}' with weights {was[:12]}, here they are {here[:12]}; "
                "use the same weights"
            )
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in sorted(set(file.keys()) - set(_IMAGES))}
    try:
        built.load_own_state(tensors)
    except ValueError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from None
    built.freeze()  # as a training leaves it
    method: ZeroShotMethod[Any] = built
    return method
