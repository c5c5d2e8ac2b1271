# pytest tests/test_quick_imports.py
"""The program imports less, and everything that was left out is there for whoever asks for it later."""

from __future__ import annotations

import json
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


@pytest.mark.slow
def test_what_only_happens_to_be_installed_is_left_out_and_there_afterwards():
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[], [True, True], True, True, 1.0]
