"""The blocks of a frozen visual tower through torch.compile, and as CUDA graphs where that is asked for.

An option: compiling takes a minute or more for a large tower, and pays where many images follow. In float32 and TF32
what is computed is the same to rounding. In bf16 a compiler leaves out roundings between operations; rows say so.
Where gradients flow, blocks run as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zsad_bench.types import Compile

BACKEND = "inductor"
_MODES = {"default": None, "cuda-graphs": "reduce-overhead"}


class CompiledBlocks:
    """A visual tower whose blocks are compiled when they are first run; all else is the tower's own."""

    def __init__(self, tower: Any, how: Compile) -> None:
        from torch._dynamo import config

        # One graph for each block, and more for other batches and V-V outputs; beyond the limit nothing is compiled.
        for name in ("recompile_limit", "cache_size_limit"):  # its name now, and before torch 2.7
            if hasattr(config, name):
                setattr(config, name, max(getattr(config, name), 8 * tower.n_blocks))
                break
        self._tower, self._graphs = tower, how == "cuda-graphs"
        self._block, self._value_block = (
            torch.compile(getattr(tower, name), backend=BACKEND, mode=_MODES[how]) if hasattr(tower, name) else None
            for name in ("block", "value_block")
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tower, name)

    def block(self, number: int, tokens: Tensor, *more: Any) -> Any:
        return self._run(self._block, self._tower.block, number, tokens, *more)

    def value_block(self, number: int, tokens: Tensor, *more: Any) -> Any:
        return self._run(self._value_block, self._tower.value_block, number, tokens, *more)

    def _run(self, compiled: Any, plain: Callable[..., Any], number: int, tokens: Tensor, *more: Any) -> Any:
        if torch.is_grad_enabled() and tokens.requires_grad:
            return plain(number, tokens, *more)
        if not self._graphs:
            return compiled(number, tokens, *more)
        torch.compiler.cudagraph_mark_step_begin()
        return _own(compiled(number, tokens, *more))  # a graph writes its next result to the same place


def _own(made: Any) -> Any:
    return tuple(map(_own, made)) if isinstance(made, tuple) else made.clone() if isinstance(made, Tensor) else made
