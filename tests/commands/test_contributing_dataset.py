# pytest tests/commands/test_contributing_dataset.py
"""Who has seen only CONTRIBUTING.md can add a dataset: its blocks are followed literally, in a package of its own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.data.miniatures.files import write_image, write_mask
from zsad_bench import registry

ROOT = Path(__file__).resolve().parents[2]
SECTION = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## A dataset\n")[1].split("\n## ")[0]


def test_another_package_adds_the_dataset(zsad, tmp_path, monkeypatch):
    source = re.search(r"```python\n(.+?)```", SECTION, re.DOTALL)[1]
    entry = re.search(r"```toml\n\[project\.entry-points\.\"(.+?)\"\]\n(.+?)\n```", SECTION, re.DOTALL)
    assert len(source.splitlines()) <= 30, "a dataset is about thirty lines"
    package = tmp_path / "site/my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "screws.py").write_text(source)
    info = tmp_path / "site/my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{entry[1]}]\n{entry[2].replace(chr(34), '')}\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    folder = tmp_path / "data/Screws"
    for name in ("good/1.png", "good/2.png", "bad/3.png", "bad/4.png"):
        write_image(folder / name)
    for name in ("3.png", "4.png"):
        write_mask(folder / "masks" / name)
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path / "data"))
    try:
        assert "screws" in zsad("ls", "datasets").out
        listed = zsad("data", "list").out
        assert re.search(r"screws +\w+ +yes +2 +2 +2 / 2 \(V\) +CC BY 4.0", listed), listed
        assert f"{folder} (raw)" in listed
        said = zsad("data", "check", "screws")
        assert said.code == 0, said.out + said.err
        (batch,) = registry.load("datasets", "screws")(image_size=16, workers=0).test_dataloader()
        assert batch.labels.tolist() == [1, 1, 0, 0]
        assert batch.masks.flatten(1).any(1).tolist() == [True, True, False, False]
        assert zsad("data", "prior", "screws:shots=1").code == 0
    finally:
        for name in ("my_package", "my_package.screws"):
            sys.modules.pop(name, None)
