"""A GPU that is not there: a method with all its tensors on a fake `cuda`, where nothing may be read back.

What lies on the host is computed as always; what lies on the device has a shape, a type and a place, and no values
(`torch._subclasses.fake_tensor`). So mixed devices raise, and so does everything that needs a value on the host: it
would make the host wait for the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zsad_bench.types import Batch

DEVICE = torch.device("cuda:0")
READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default, torch.ops.aten.is_nonzero.default)


class ReadBack(AssertionError):
    """A value of the device was asked for on the host."""


class FakeDevice(TorchDispatchMode):
    """While it holds, operations on tensors of the fake device compute shapes, all others values."""

    def __init__(self) -> None:
        super().__init__()
        self.fakes = FakeTensorMode(allow_non_fake_inputs=True)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        fake = any(isinstance(leaf, FakeTensor) for leaf in tree_leaves((args, kwargs)))
        target = kwargs.get("device")
        if not fake and (target is None or torch.device(target).type != DEVICE.type):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        to_host = target is not None and torch.device(target).type == "cpu"
        onto_host = func is torch.ops.aten.copy_.default and not isinstance(args[0], FakeTensor)
        if fake and (func in READS or to_host or onto_host):
            raise ReadBack(f"{func} on a tensor of the device")
        try:
            return func(*args, **kwargs)  # in `fakes`, which holds below this mode
        except DataDependentOutputException as error:
            raise ReadBack(str(error)) from None

    def on_device(self, value: Any) -> Any:
        """A tensor of the device like this one of the host; a batch with all its tensors there; anything else as is."""
        if isinstance(value, Batch):
            masks = None if value.masks is None else self.on_device(value.masks)
            return replace(value, images=self.on_device(value.images), labels=self.on_device(value.labels), masks=masks)
        return torch.empty(value.shape, dtype=value.dtype, device=DEVICE)

    def take(self, method: nn.Module) -> None:
        """Brings parameters and buffers to the device, in place; others that hold the module see the same."""
        moved: dict[int, Tensor] = {}

        def there(old: Tensor) -> Tensor:
            if id(old) not in moved:
                new = self.on_device(old)
                is_parameter = isinstance(old, nn.Parameter)
                moved[id(old)] = nn.Parameter(new, requires_grad=old.requires_grad) if is_parameter else new
            return moved[id(old)]

        for module in method.modules():
            for table in (module._parameters, module._buffers):
                table.update({name: there(value) for name, value in table.items() if value is not None})


@contextmanager
def fake_device() -> Iterator[FakeDevice]:
    """The device, while it holds."""
    device = FakeDevice()
    with device.fakes, device:
        yield device
