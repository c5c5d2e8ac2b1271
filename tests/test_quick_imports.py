# pytest tests/test_quick_imports.py
"""The program imports less, and everything that was left out is there for whoever asks for it later."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = """
import gc, json, sys
from zsad_bench import quick_imports
quick_imports.load()
left_out = [name for name in ("transformers", "matplotlib", "scipy.signal", "wandb") if name in sys.modules]
frozen, collects = gc.get_freeze_count(), gc.isenabled()
import lightning_utilities.core.imports as checks
import matplotlib, scipy.signal, wandb
found = checks.package_available("scipy"), checks._version("matplotlib") == matplotlib.__version__
quick_imports.load()
from torchmetrics.functional.classification import binary_auroc
import torch
area = float(binary_auroc(torch.tensor([.1, .9]), torch.tensor([0, 1])))
print(json.dumps([left_out, found, frozen > 100_000, collects, area]))
"""
# What stands for PyTorch's compiler while Lightning is imported is asked again once there is one.
COMPILER = """
import json, sys
from zsad_bench import quick_imports
quick_imports.load()
import builtins, torch, lightning.fabric.wrappers as wrappers
import torchvision.ops.roi_align
roi_align = sys.modules["torchvision.ops.roi_align"]  # the package has a function of this name
waits = "torch._dynamo" not in sys.modules and "timm" not in sys.modules
layer = torch.nn.Linear(1, 1)
plain = isinstance(layer, wrappers.OptimizedModule)
supported = roi_align.is_compile_supported("cpu")
imported = "torch._dynamo" in sys.modules
import torch._dynamo
from torch._dynamo import OptimizedModule
compiled = torch.compile(layer)
found = [isinstance(one, wrappers.OptimizedModule) for one in (compiled, layer)]
unwrapped = wrappers._unwrap_compiled(compiled)[0] is layer
as_ever = unwrapped, torch.compiler.disable.__module__, builtins.__import__.__module__
same = supported == torch._dynamo.utils.is_compile_supported("cpu")
from open_clip.timm_model import timm as hidden
import timm
print(json.dumps([waits, plain, imported, found, as_ever, same, hidden is None, timm.__name__]))
"""
DRY_RUN = """
import contextlib, io, json, sys
from zsad_bench.cli import main
sys.argv = ["zsad-bench", "sweep", "mine.yaml", "--dry-run"]
said = io.StringIO()
with contextlib.redirect_stdout(said):
    code = main()
known = ("torch._dynamo", "torch._inductor", "sympy", "timm", "scipy.ndimage", "transformers", "numba")
print(json.dumps([code, "cells: " in said.getvalue(), [name for name in known if name in sys.modules]]))
"""
RECIPE = """
suite: demo
methods: [clip, winclip, april_gan, coop, cocoop, anovl, anomalyclip, adaclip, faprompt, aa_clip, filo, af_clip, dive,
          visualad, musc, mrad, center_prior, random]
priors: [rich]
targets: [demo_textures]
data: {"*": {scale: 0.05}}
epochs: 1
"""


def run(code: str, folder: Path = ROOT) -> list:
    """What a fresh process prints last."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_what_only_happens_to_be_installed_is_left_out_and_there_afterwards():
    assert run(CODE) == [[], [True, True], True, True, 1.0]


@pytest.mark.slow
def test_the_compiler_waits_until_it_is_asked_for():
    waits, plain, imported, found, as_ever, same, hidden, timm = run(COMPILER)
    assert waits, "it was imported along with Lightning"
    assert not plain, "a layer passes for a compiled one"
    assert imported, "nobody asked whether a device can compile"
    assert found == [True, False]
    assert as_ever == [True, "torch.compiler", "builtins"]
    assert same
    assert (hidden, timm) == (True, "timm"), "timm is for whoever imports it, and not for open_clip"


@pytest.mark.slow
def test_a_dry_run_imports_nothing_that_a_plan_does_not_need(tmp_path):
    """With all methods: none of them asks for the compiler, a second network or filters of images to be planned."""
    (tmp_path / "mine.yaml").write_text(RECIPE)
    assert run(DRY_RUN, tmp_path) == [0, True, []]
