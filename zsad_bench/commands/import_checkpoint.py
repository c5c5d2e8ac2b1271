"""Write a checkpoint of the authors' own code as one for `bench --checkpoint`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from zsad_bench.options import Argument, Option


@dataclass(frozen=True, kw_only=True)
class Options:
    official: Annotated[
        tuple[str, ...],
        Argument("FILE.pth…", "as the released code saved it; nothing in it is executed", repeated=True),
    ]
    method: Annotated[str, Option("NAME", "whose it is; a wrong name lists those whose files can be read")]
    out: Annotated[str, Option("FILE.safetensors", "the checkpoint to write", writes="file")]
    backbone: Annotated[
        str | None, Option("NAME", "as in bench; default: the paper suite's, whose weights are not needed")
    ] = None
    weights: Annotated[str | None, Option("PATH", "ties the checkpoint to these weights")] = None
    auxiliary: Annotated[str | None, Option("NAME[,NAME…]", "what it was trained on; default: mvtec")] = None
    set: Annotated[tuple[str, ...], Option("KEY=VALUE", "a field the file does not decide", repeated=True)] = ()


def run(options: Options) -> int:
    """Writes the checkpoint, and prints what was read and what is not known."""
    from zsad_bench.commands._official_checkpoint import import_checkpoint

    import_checkpoint(
        [Path(path) for path in options.official], Path(options.out), options.method, options.backbone,
        options.weights, options.auxiliary, options.set,
    )  # fmt: skip
    return 0
