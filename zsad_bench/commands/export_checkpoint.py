"""Write a checkpoint as the authors' own code reads it, of a method whose form is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from zsad_bench.options import Argument, Option


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: Annotated[str, Argument("FILE.safetensors", "of one of our runs")]
    out: Annotated[str, Option("FILE.pth", "the official one to write", writes="file")]
    backbone: Annotated[str | None, Option("NAME", "default: the checkpoint's; needed for local-dir:FOLDER")] = None
    weights: Annotated[str | None, Option("PATH", "of that backbone, when they are not in the cache")] = None


def run(options: Options) -> int:
    """Writes the official form, and prints what it lacks."""
    from zsad_bench.commands._official_checkpoint import export_checkpoint

    export_checkpoint(Path(options.checkpoint), Path(options.out), options.backbone, options.weights)
    return 0
