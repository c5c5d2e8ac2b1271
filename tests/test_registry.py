# pytest tests/test_registry.py
"""Names to classes: the file name is the registration, here and in packages that plug in."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from zsad_bench import registry
from zsad_bench.errors import UnknownNameError

ROOT = Path(__file__).resolve().parents[1]
PLUG_IN = '''"""A method that lives elsewhere.

More about it.
"""


class Helper:
    pass


class Elsewhere(Helper):
    title = "Elsewhere!"
'''


@pytest.fixture
def plug_in(monkeypatch, tmp_path):
    """plug_in(source, name): a module on the path, registered under that name in the methods group."""

    def plugged(source: str, name: str) -> None:
        (tmp_path / f"zsad_plug_{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        entry = EntryPoint(name, f"zsad_plug_{name}", "zsad_bench.methods")
        monkeypatch.setattr(registry, "entry_points", lambda group: [entry] if group == entry.group else [])

    return plugged


@pytest.mark.parametrize(("room", "folder"), [("methods", "methods"), ("datasets", "data/datasets")])
def test_every_file_is_registered_under_its_name(room, folder):
    files = {path.stem for path in (ROOT / "zsad_bench" / folder).glob("[!_]*.py")} - {"base"}
    assert set(registry.names(room)) >= files, f"files without a name in {room}"
    assert registry.names(room) == sorted(registry.names(room))
    assert not {"base", "__init__"} & set(registry.names(room))
    for entry in registry.describe(room):
        cls = registry.load(room, entry.name)
        assert (cls.title, cls.__module__) == (entry.title, entry.module), f"{entry.name}: listing and class disagree"
        assert entry.summary, f"{entry.name}: the file's docstring is missing"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("anomaly_clip", "unknown method 'anomaly_clip'; did you mean anomalyclip"),
        ("CLIP", "unknown method 'CLIP'; did you mean clip"),
        ("base", "unknown method 'base'"),
        ("zzzz", f"unknown method 'zzzz'; known: {', '.join(registry.names('methods'))}"),
    ],
)
def test_an_unknown_name_lists_the_nearest(name, said):
    with pytest.raises(UnknownNameError) as caught:
        registry.load("methods", name)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_room_is_named_in_the_singular():
    with pytest.raises(UnknownNameError, match=r"unknown dataset 'epvl'; did you mean elpv"):
        registry.load("datasets", "epvl")


def test_listing_leaves_torch_out():
    code = (
        "import sys; from zsad_bench import registry as r; [r.describe(room) for room in ('methods', 'datasets')];"
        "sys.exit(any(m in sys.modules for m in ('torch', 'lightning', 'open_clip')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"listing names imported torch, or failed: {done.stderr}"


def test_another_package_plugs_in(plug_in):
    plug_in(PLUG_IN, "elsewhere")
    assert "elsewhere" in registry.names("methods")
    assert "elsewhere" not in registry.names("datasets")
    (entry,) = [entry for entry in registry.describe("methods") if entry.name == "elsewhere"]
    assert (entry.title, entry.summary) == ("Elsewhere!", "A method that lives elsewhere.")
    assert "zsad_plug_elsewhere" not in sys.modules, "listing imported the plug-in"
    assert registry.load("methods", "elsewhere").__name__ == "Elsewhere"


def test_a_plug_in_does_not_take_over_a_name_of_ours(plug_in):
    plug_in(PLUG_IN, "clip")
    assert registry.load("methods", "clip").__module__ == "zsad_bench.methods.clip"


def test_a_file_needs_exactly_one_class_with_a_title(plug_in):
    plug_in('class A:\n    title = "A"\n\n\nclass B:\n    title = "B"\n', "twins")
    with pytest.raises(TypeError, match="zsad_plug_twins: expected one class with a `title`, found 2"):
        registry.load("methods", "twins")
