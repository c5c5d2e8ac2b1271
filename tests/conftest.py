"""The environment that every test runs in: no network, no tracking, one thread, and nothing of the user's own data.

Set here, before torch or albumentations are imported. Fixtures that several rooms share stand below, the others in
the rooms' own conftest files.
"""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.update(
    HF_HUB_OFFLINE="1",  # an unreachable hub answers in 0.1 s instead of 48 s
    WANDB_MODE="disabled",
    NO_ALBUMENTATIONS_UPDATE="1",  # no version check at import
    OMP_NUM_THREADS="1",  # workers share the cores; sums have one order
)
# Of several GPUs one: `bench` and `sweep` would take their groups to Ray, and out of this process.
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every process they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# What `auto` and the targets would take must not depend on who runs the tests.
for name in ("ZSAD_DATA", "ELPV", "RAY_ADDRESS"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Generated data goes into a cache of the test session's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZSAD_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def mini_config() -> dict[str, Any]:
    """open_clip configuration of the miniature: four visual and three text blocks, 32 px, patches of 8."""
    from tests.miniature import MINI

    return copy.deepcopy(MINI)


@pytest.fixture(scope="session")
def mini_clip(mini_config):
    """The open_clip model itself: the independent reference. Shared: do not change it."""
    from tests.miniature import random_clip

    return random_clip(mini_config)


@pytest.fixture(scope="session")
def mini(mini_clip):
    """The adapter around a copy of it. Shared: do not change it."""
    from zsad_bench.backbones.clip import Backbone

    return Backbone(copy.deepcopy(mini_clip), "mini")
