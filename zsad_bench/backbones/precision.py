"""What numbers frozen towers compute with: float32, TF32, or bfloat16 under autocast.

Only the blocks of a tower run in the precision that is asked for. Patches, positions, norms and projections at its ends
are float32, and so are the rows between two blocks, everything that an edit computes, and whatever leaves a tower:
heads, losses and maps see float32 alone. bf16 is autocast of float32 weights: matrix products are bfloat16, the sums
along the blocks are not, which costs less accuracy than weights and sums of bfloat16 do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, get_args

import torch
from torch import Tensor

from zsad_bench.errors import UsageError
from zsad_bench.registry import did_you_mean
from zsad_bench.types import Precision

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def check_name(asked: str) -> Precision:
    """The precision of that name. UsageError: there is none; lists those that there are."""
    if asked not in PRECISIONS:
        raise UsageError(did_you_mean("precision", str(asked), PRECISIONS))
    return asked


@cache
def check_device(precision: Precision, device: torch.device) -> None:
    """Raises UsageError for a precision that a device does not compute with."""
    if precision == "float32" or (precision == "bf16" and device.type == "cpu"):
        return
    able = False
    if device.type == "cuda":
        able = (
            torch.cuda.is_bf16_supported(including_emulation=False)
            if precision == "bf16"
            else torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)
        )
    if not able:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        raise UsageError(
            f"precision {precision}: {name} does not compute with it, which "
            f"{'GPUs' if precision == 'bf16' else 'NVIDIA GPUs'} from Ampere on do; take --precision float32"
        )


def device_of_runs() -> torch.device:
    """Where a Trainer of ours runs: a GPU where there is one."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def forbid_tf32() -> None:
    """Makes float32 mean float32 on GPUs, also in convolutions, where PyTorch by itself allows TF32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def tf32(allowed: bool, device: torch.device) -> Iterator[None]:
    """While it holds, matrix products and convolutions of a GPU may, or may not, round their factors to TF32."""
    if device.type != "cuda":
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


class InPrecision:
    """A tower whose blocks compute in another precision than float32; what goes in and comes out is float32.

    It stands for the tower wherever that is run block by block; all else is the tower's own.

    Raises:
        UsageError: the device does not compute with it.
    """

    def __init__(self, tower: Any, precision: Precision, device: torch.device) -> None:
        check_device(precision, device)
        self._tower, self._precision = tower, precision

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tower, name)

    def block(self, *args: Any) -> Any:
        return self._run(self._tower.block, args)

    def tree_block(self, *args: Any) -> Any:
        return self._run(self._tower.tree_block, args)

    def attend(self, *args: Any) -> Any:
        return self._run(self._tower.attend, args)

    def value_block(self, *args: Any) -> Any:
        return self._run(self._tower.value_block, args)

    def _run(self, block: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        device = next(arg for arg in args if isinstance(arg, Tensor)).device
        bf16 = torch.autocast(device.type, torch.bfloat16, enabled=self._precision == "bf16")
        with tf32(self._precision == "tf32", device), bf16:
            return _float(block(*args))


def _float(made: Any) -> Any:
    if isinstance(made, tuple):
        return tuple(map(_float, made))
    return made.float() if isinstance(made, Tensor) else made
