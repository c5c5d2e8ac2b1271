# pytest tests/test_wheel.py -m "slow or not slow"
"""The wheel: everything that the installed program reads is in it, as it is in the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.wheel_files import ROOT, differences, wanted
from zsad_bench import assets

INFO = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "licenses/NOTICE")


def test_what_is_read_at_run_time_is_asked_for():
    asked = wanted()
    for file in (
        "zsad_bench/backbones/tiny_clip/weights.safetensors", "zsad_bench/inspection/demo/dive.safetensors",
        "zsad_bench/prompts/winclip.yaml", "zsad_bench/_data/recipes/demo.yaml", "zsad_bench/py.typed",
        "zsad_bench/_data/published/faprompt_tables_1_2.csv", "zsad_bench/leaderboard/page/assets/page.html",
    ):  # fmt: skip
        assert file in asked, f"pyproject.toml packages no {file}"
    for name, folder in assets._CHECKOUT.items():  # what assets.py looks for beside the checkout is in the wheel
        assert f"zsad_bench/_data/{name}" in {place.rpartition("/")[0] for place in asked}, f"{folder} is not packaged"
    listed = subprocess.run(["git", "ls-files", "zsad_bench"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:  # a source archive has no history
        assert not set(listed.stdout.split()) - asked.keys(), "files of the package that no wheel is asked for"


def test_a_wheel_that_lacks_a_file_or_has_another_is_told(tmp_path):
    (tmp_path / "pack/deep").mkdir(parents=True)
    (tmp_path / "tables").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.hatch.build.targets.wheel]\npackages = ["pack"]\n'
        '[tool.hatch.build.targets.wheel.force-include]\n"tables" = "pack/_data/tables"\n'
    )
    files = {"pack/a.py": "a", "pack/deep/b.yaml": "b", "tables/c.csv": "c", "pack/deep/__pycache__/b.pyc": "left"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def wheel(**change: str | None) -> list[str]:
        held = {"pack/a.py": "a", "pack/deep/b.yaml": "b", "pack/_data/tables/c.csv": "c"}
        held |= {f"pack-1.dist-info/{name}": "" for name in INFO} | change
        with zipfile.ZipFile(tmp_path / "pack.whl", "w") as archive:
            for name, text in held.items():
                if text is not None:
                    archive.writestr(name, text)
        return differences(tmp_path / "pack.whl", tmp_path)

    assert wheel() == []
    assert wheel(**{"pack/_data/tables/c.csv": None}) == ["missing: pack/_data/tables/c.csv"]
    assert wheel(**{"pack/a.py": "other"}) == ["other bytes: pack/a.py"]
    assert wheel(**{"tests/x.py": ""}) == ["too many: tests/x.py"]
    assert wheel(**{"pack-1.dist-info/licenses/NOTICE": None}) == ["missing: pack-1.dist-info/licenses/NOTICE"]


@pytest.mark.slow
def test_the_wheel_that_is_built_is_the_checkout(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling builds the wheel; it is part of the extra dev")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(tmp_path),
        ".",
    ]
    built = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = Path(tmp_path).glob("zsad_bench-*.whl")
    assert differences(wheel) == []
