"""The environment that every test runs in: no network, no tracking, one thread unless asked, no data of the user's.

Set here, before torch or albumentations are imported. Fixtures that several rooms share stand below, the others in
the rooms' own conftest files.
"""

from __future__ import annotations

import copy
import functools
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from zsad_bench import process

if TYPE_CHECKING:
    from zsad_bench.backbones.base import Backbone

os.environ.update(
    HF_HUB_OFFLINE="1",  # an unreachable hub answers in 0.1 s instead of 48 s
    WANDB_MODE="disabled",
    NO_ALBUMENTATIONS_UPDATE="1",  # no version check at import
)
process.prepare()  # threads and memory as the program has them
os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores; another number is for whoever asks for it
# However slow or busy the machine, a drawn test says the same each time.
hypothesis.settings.register_profile(
    "any machine",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("any machine")
# Of several GPUs one: `bench` and `sweep` would take their groups to Ray, and out of this process.
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every process they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# What `auto` and the targets would take must not depend on who runs the tests.
for name in ("ZSAD_DATA", "ELPV", "RAY_ADDRESS"):
    os.environ.pop(name, None)
pytest.register_assert_rewrite("tests.methods.contract")  # tests that several files run


def pytest_collection_finish() -> None:
    """What is imported by now stays to the end, and the garbage collector need not look through it again and again.

    That took a sixth of all time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Generated data goes into a cache of the test session's own; the workers of pytest-xdist share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZSAD_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_disks() -> Iterator[None]:
    """Files of tests need not survive a power cut, and thousands of `fsync` wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture
def plug_in(monkeypatch, tmp_path_factory) -> Iterator[Callable[..., Path]]:
    """plug_in(package, files, methods={name: value}, datasets={…}): another package, installed until the test is over.

    files: path below the package's folder -> source; returns that folder's parent, which is on the path.
    """
    packages = []

    def plugged(package: str, files: dict[str, str], **groups: dict[str, str]) -> Path:
        site = tmp_path_factory.mktemp("site")
        for name, source in {"__init__.py": "", **files}.items():
            (site / package / name).parent.mkdir(parents=True, exist_ok=True)
            (site / package / name).write_text(source, encoding="utf-8")
        about = site / f"{package}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 1.0\n")
        parts = {
            f"[zsad_bench.{group}]": [f"{name} = {value}" for name, value in of.items()] for group, of in groups.items()
        }
        (about / "entry_points.txt").write_text("\n".join(line for head, of in parts.items() for line in (head, *of)))
        monkeypatch.syspath_prepend(str(site))
        packages.append(package)
        return site

    yield plugged
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]


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
    from zsad_bench.backbones.families._open_clip import from_model

    return from_model(copy.deepcopy(mini_clip), "mini")


@pytest.fixture(scope="session")
def mini_for(mini) -> Callable[[str], Backbone]:
    """mini_for(method): the first random miniature that offers what a method needs. Shared: do not change it.

    Skips the test where the library of that miniature is not installed.
    """
    from tests.miniature import miniature_blip
    from zsad_bench import registry

    made = [lambda: mini, functools.cache(miniature_blip)]

    def fitting(method: str) -> Backbone:
        needs = registry.load("methods", method).needs
        for make in made:
            if needs <= make().offers:
                return make()
        raise AssertionError(f"no miniature of tests/miniature.py offers what {method} needs: {sorted(needs)}")

    return fitting
