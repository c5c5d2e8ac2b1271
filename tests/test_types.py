# pytest tests/test_types.py
"""The type checker of `make lint` finds what it is there for, by the settings of pyproject.toml."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent

# What a method file looks like: a base that promises a signature, and a subclass.
METHOD = """
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    n_tokens: int | None = None


@dataclass(frozen=True)
class DeepConfig(Config):
    depth: int = 9


class Method:
    @classmethod
    def resolve(cls, config: Config, image_size: int) -> Config:
        return config


class Deep(Method):
    @classmethod
"""

SOUND = """
    def resolve(cls, config: Config, image_size: int) -> DeepConfig:
        return DeepConfig()
"""
NARROWER = """
    def resolve(cls, config: DeepConfig, image_size: int) -> Config:
        return config
"""
ONE_MORE = """
    def resolve(cls, config: Config, image_size: int, depth: int) -> Config:
        return config
"""
WRONG_CALL = """
    def resolve(cls, config: Config, image_size: int) -> Config:
        return super().resolve(config, size=image_size)
"""
NONE = """
    def depth(cls, config: Config) -> int:
        return config.n_tokens + 1
"""
BARE = """
    def depth(cls, config):
        return 1
"""
FAULTS = {NARROWER: "override", ONE_MORE: "override", WRONG_CALL: "call-arg", NONE: "operator", BARE: "no-untyped-def"}


def checked(folder: Path, *sources: str) -> list[str]:
    """What mypy prints of each of these modules, one line per fault."""
    for number, source in enumerate(sources):
        (folder / f"snippet{number}.py").write_text(source, encoding="utf-8")
    files = [f"snippet{number}.py" for number in range(len(sources))]
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", "cache", "--no-error-summary"]
    ran = subprocess.run([sys.executable, "-m", "mypy", *options, *files], cwd=folder, capture_output=True, text=True)
    assert not ran.stderr, ran.stderr
    assert ran.returncode == bool(ran.stdout), ran.stdout
    return [line for line in ran.stdout.splitlines() if ": error: " in line]


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The faults of a sound module, which comes first, and of one module for each of `FAULTS`."""
    sound = (
        METHOD + "    def resolve(cls, config: Config, image_size: int) -> DeepConfig:\n        return DeepConfig()\n"
    )
    return checked(tmp_path_factory.mktemp("types"), sound, *(METHOD + body for body in FAULTS))


def test_a_sound_override_has_no_fault(faults: list[str]) -> None:
    assert not [line for line in faults if line.startswith("snippet0.py")]


@pytest.mark.parametrize(("number", "code"), list(enumerate(FAULTS.values(), 1)))
def test_a_fault_is_found(faults: list[str], number: int, code: str) -> None:
    lines = [line for line in faults if line.startswith(f"snippet{number}.py")]
    assert len(lines) == 1
    assert lines[0].endswith(f"[{code}]"), lines


# --- what mypy leaves alone: an override may give its parameters other names, and calls by keyword then fail ----------

RENAMED = """
from elsewhere import Base

class Same(Base):
    def score(self, features, samples, more=None): ...
    def forward(self, *images): ...

class Further(Same):
    def score(self, maps, samples): ...
    @classmethod
    def resolve(cls, settings): ...
"""
BASE = """
class Base:
    def score(self, features, samples): ...
    @classmethod
    def resolve(cls, config): ...
    def forward(self, images): ...
"""


class Class(NamedTuple):
    """A class as its file says it. bases: module and name of each; methods: names of the parameters, None for any."""

    bases: list[tuple[str, str]]
    methods: dict[str, list[str] | None]


def classes_of(sources: Mapping[str, str]) -> dict[tuple[str, str], Class]:
    """(module, name) -> class, of modules by name. Nothing is imported."""
    classes = {}
    for module, source in sources.items():
        tree = ast.parse(source)
        known = {node.name: (module, node.name) for node in tree.body if isinstance(node, ast.ClassDef)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                known |= {alias.asname or alias.name: (node.module or "", alias.name) for alias in node.names}
                known |= {f"{alias.asname or alias.name}.": (f"{node.module}.{alias.name}", "") for alias in node.names}
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                methods = {m.name: _parameters(m) for m in node.body if isinstance(m, ast.FunctionDef)}
                classes[module, node.name] = Class([_base(base, known) for base in node.bases], methods)
    return classes


def _base(base: ast.expr, known: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    if isinstance(base, ast.Subscript):  # Base[Config]
        base = base.value
    if isinstance(base, ast.Attribute):  # module.Base
        return known.get(f"{ast.unparse(base.value)}.", ("", ""))[0], base.attr
    return known.get(ast.unparse(base), ("", ""))


def _parameters(method: ast.FunctionDef) -> list[str] | None:
    arguments = method.args
    if arguments.vararg or arguments.kwarg:
        return None
    return [each.arg for each in (*arguments.posonlyargs, *arguments.args)]


def renamed_parameters(classes: Mapping[tuple[str, str], Class]) -> list[str]:
    """One line per override whose first parameters have other names than those of the method that it overrides."""

    def inherited(key: tuple[str, str], method: str) -> list[str] | None:
        for base in classes[key].bases:
            if base in classes:
                own = classes[base].methods
                names = own[method] if method in own else inherited(base, method)
                if names is not None:
                    return names
        return None

    lines = []
    for key, one in classes.items():
        for method, names in one.methods.items():
            expected = None if method.startswith("__") or names is None else inherited(key, method)
            if names is not None and expected is not None and names[: len(expected)] != expected:
                lines.append(f"{'.'.join(key)}.{method}({', '.join(names)}) overrides one of ({', '.join(expected)})")
    return lines


def test_other_names_are_seen() -> None:
    lines = renamed_parameters(classes_of({"elsewhere": BASE, "here": RENAMED}))
    assert [line.partition("(")[0] for line in lines] == ["here.Further.score", "here.Further.resolve"]


def test_overrides_keep_the_names_of_their_parameters() -> None:
    sources = {
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path.read_text(encoding="utf-8")
        for path in (ROOT / "zsad_bench").rglob("*.py")
    }
    lines = renamed_parameters(classes_of(sources))
    assert not lines, "\n".join(lines)
