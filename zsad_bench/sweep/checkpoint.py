"""Checkpoints: what a method learned, its resolved configuration and the prior it learned from, as safetensors.

The backbone is never inside; its id is, and loading refuses another one. An imported official checkpoint does not know
its weights: it carries the backbone's name alone, and loading refuses another architecture.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from zsad_bench import registry
from zsad_bench.backbones.clip import Backbone
from zsad_bench.errors import CheckpointError, UsageError
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.sweep.build import configure

FORMAT = "zsad-bench checkpoint 1"


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself.

    backbone: the id, or the name alone where the weights are not known. config: resolved. training: seed, auxiliary
    datasets, prior and its hash; of an imported one also its origin, file and sha256.
    """

    method: str
    version: str
    backbone: str
    config: dict[str, Any]
    training: dict[str, Any]


def save(path: Path, method: ZeroShotMethod, training: Mapping[str, Any]) -> None:
    """Writes a method's learned tensors to a temporary file and puts it in place whole."""
    header = {
        "format": FORMAT,
        "method": method.registry_name(),
        "version": method.version,
        "backbone": method.backbone.id,
        "config": json.dumps(method.resolved_config()),
        "training": json.dumps(dict(training)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    save_file({k: v.contiguous() for k, v in method.learned().items()}, partial, metadata=header)
    os.replace(partial, path)


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
            f"checkpoint {path}: unreadable or truncated ({error}); train again or copy it anew"
        ) from None
    if meta.get("format") != FORMAT:
        raise CheckpointError(
            f"checkpoint {path}: its format is '{meta.get('format', 'unknown')}', expected '{FORMAT}'"
        )
    return Header(
        meta["method"], meta["version"], meta["backbone"], json.loads(meta["config"]), json.loads(meta["training"])
    )


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
    expected = built.learned()
    with safe_open(path, "pt") as file:
        names = set(file.keys())
        if names != set(expected):
            odd = sorted(names ^ set(expected))
            raise CheckpointError(f"checkpoint {path}: tensors missing or unknown: {', '.join(odd)}")
        tensors = {name: file.get_tensor(name) for name in sorted(names)}
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            found, wanted = tuple(tensor.shape), tuple(expected[name].shape)
            raise CheckpointError(f"checkpoint {path}: {name} is {found}, its configuration asks for {wanted}")
    built.load_state_dict(tensors, strict=False)
    return built
