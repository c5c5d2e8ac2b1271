"""Counts what a method computes: parameters that learn, and the floating-point operations of one image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from zsad_bench.backbones.encoder import Encoder
from zsad_bench.console import Console
from zsad_bench.methods._prediction import predict, predict_set
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.planning.configure import encodes_alone
from zsad_bench.results.row import digest
from zsad_bench.runner.prepared_run import PreparedRun
from zsad_bench.runner.row_writer import Computation, hashed_config
from zsad_bench.types import Category, SampleInfo

# The one class that every method is asked about, so that the number follows from the configuration alone: those that
# know classes by name know the first one of MVTec AD, and texts of several images have lengths of their own.
NOMINAL = SampleInfo("nominal", Category("mvtec", "bottle", "bottle", "object", "industrial"))


class Operations(TorchDispatchMode):
    """Counts while it is on, in backward passes too. flops: so far, a multiplication and an addition being two.

    Matrix products and convolutions count, element by element operations and interpolations do not: the convention of
    torch's own counter. That one also follows modules, with hooks that methods with frozen inputs do not survive.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        known = func._overloadpacket in flop_registry
        if not known and func is not torch.ops.prim.device.default:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        if known:
            self.flops += flop_registry[func._overloadpacket](*args, **kwargs, out_val=out)
        return out


def trained_parameters(method: ZeroShotMethod) -> int:
    """How many numbers change in training: each parameter once, of every stage that lasts."""
    learning = {
        name: math.prod(parameter.shape)
        for stage in method.stages()
        if stage.epochs and not stage.observes
        for name, parameter in method.trainables(stage).items()
    }
    return sum(learning.values())


def gflops(method: ZeroShotMethod) -> float:
    """1e9 operations to encode and score one square image of the method's size, with its texts cached.

    As the method is tested: of one that adapts to an image, the adaptation counts. Attention counts by its products,
    whatever kernel computes it. Nothing of the method changes: its texts are encoded anew afterwards, and no random
    number is taken from a generator that others use.
    """
    size, device = method.config.image_size, method.backbone.device
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    samples = [NOMINAL]
    score = predict_set if method.transductive else predict
    own_encoder, was_training = method._encoder, method.training
    method._encoder = Encoder(
        method.backbone, method.encoder_spec, method.encoder_trains
    )  # keeps the counts of its own
    method.clear_text_cache()
    fastpath = torch.backends.mha.get_fastpath_enabled()
    devices = [device] if device.type == "cuda" else []
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # one operation of its own, which no counter knows
        with torch.random.fork_rng(devices), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            method.eval()
            if encodes_alone(type(method)):  # may read its texts there
                method.encode(image, samples)
            counted = Operations()
            with counted:
                features = method.encode(image, samples)
            score(method, features, samples)  # reads the texts
            with counted:
                score(method, features, samples)
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        method._encoder = own_encoder
        method.clear_text_cache()
        method.train(was_training)
    return counted.flops / 1e9


class CountComputations(Callback):
    """At the start of a test, on the device that the methods are on, counts what each run computes: once for a run.

    runs: by label, as in the pass. A method that cannot be asked about the nominal class, or scores no image by itself,
    has no number, and a line says so: nothing that was asked for depends on it.
    """

    def __init__(self, runs: Mapping[str, PreparedRun], console: Console) -> None:
        self.runs, self.console = runs, console

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found: dict[tuple[str, str], Computation] = {}  # seeds and draws of a configuration compute the same
        for run in self.runs.values():
            if run.writer.computation is None:
                key = run.spec.method, digest(hashed_config(run.method))
                if key not in found:
                    found[key] = self._count(run.method)
                run.writer.computation = found[key]

    def _count(self, method: ZeroShotMethod) -> Computation:
        learned = trained_parameters(method)
        if method.fewest_images > 1:
            why = "they grow with the number of images of its category"
            self.console.print(f"{method.title}: the operations of an image are not counted: {why}", style="yellow")
            return Computation(learned, None)
        try:
            return Computation(learned, gflops(method))
        except Exception as error:  # of whatever a plug-in does with an image that is in no dataset
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self.console.print(f"{method.title}: the operations of an image are not counted: {reason}", style="yellow")
            return Computation(learned, None)
