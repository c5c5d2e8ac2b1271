"""What a wheel must hold, worked out from the checkout and not from a list: `python tests/wheel_files.py dist/*.whl`.

Every file below the package, the recipes and the published numbers, byte by byte, and nothing else but what describes
the wheel. A file that is added to the checkout is asked for at once; what a rule of the build leaves out is named.
"""

from __future__ import annotations

import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_LEFT_BEHIND = ("__pycache__", ".DS_Store")  # by programs that ran in the checkout
_INFO = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "licenses/NOTICE")


def wanted(root: Path = ROOT) -> dict[str, Path]:
    """Path in the wheel -> file of the checkout, by what pyproject.toml says is packaged."""
    wheel = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    packages = {package: package for package in wheel["wheel"]["packages"]}
    return {
        f"{place}/{file.relative_to(root / folder).as_posix()}": file
        for folder, place in {**packages, **wheel["wheel"]["force-include"]}.items()
        for file in _files(root / folder)
    }


def differences(wheel: Path, root: Path = ROOT) -> list[str]:
    """One line for each file that the wheel lacks, has too many, or has other bytes of; [] for a good one."""
    asked = wanted(root)
    with zipfile.ZipFile(wheel) as archive:
        there = set(archive.namelist())
        info = next((name.partition("/")[0] for name in there if name.endswith(".dist-info/RECORD")), "?.dist-info")
        described = {f"{info}/{name}" for name in _INFO}
        lines = [f"missing: {name}" for name in sorted((asked.keys() | described) - there)]
        lines += [f"too many: {name}" for name in sorted(there - asked.keys() - described)]
        lines += [f"other bytes: {name}" for name in sorted(asked.keys() & there)
                  if archive.read(name) != asked[name].read_bytes()]  # fmt: skip
    return lines


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and not set(_LEFT_BEHIND) & set(path.parts):
            yield path


if __name__ == "__main__":
    found = [f"{path}: {line}" for path in sys.argv[1:] for line in differences(Path(path))]
    print("\n".join(found) or f"{len(wanted())} files, each as in the checkout")
    sys.exit(bool(found) or len(sys.argv) < 2)
