# pytest tests/test_house.py
"""The house rules that no single room can check: who imports whom, what is depended on, and a quick `--help`."""

from __future__ import annotations

import ast
import os
import re
import resource
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "zsad_bench"
MODULES = sorted(p.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for p in PACKAGE.rglob("*.py"))
# One file each, none of which knows another.
PEERS = ("zsad_bench.methods", "zsad_bench.data.datasets", "zsad_bench.backbones.families")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


# --- who may import whom ----------------------------------------------------------------------------------------------


def room_table() -> dict[str, set[str]]:
    """Room -> what it may import, from the table in docs/design.md; "everything" stands for any room."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    section = text.split("## Rooms of", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    named = [re.findall(r"`([\w.]+?)(?:\.py|/)?`", rooms) for rooms, _, _ in rows]
    leaves = set(named[0])
    table = {}
    for rooms, (_, _, allowed) in zip(named, rows, strict=True):
        what = set(re.findall(r"`([\w.]+)`", allowed))
        what |= leaves if "leaf rooms" in allowed else set()
        what |= {"everything"} if allowed.strip() == "everything" else set()
        table |= dict.fromkeys(rooms, what)
    return table


def imported_modules(module: str, source: str, known: list[str]) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import of our own modules, also those inside functions or under TYPE_CHECKING."""
    is_package = any(name.startswith(module + ".") for name in known) or module.endswith("__init__")
    package = module.removesuffix(".__init__").split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            inside = [f"{base}.{alias.name}" for alias in node.names]
            found = [name if _is_module(name, known) else base for name in inside]
        else:
            continue
        yield from ((node.lineno, name) for name in found if name.split(".")[0] == "zsad_bench")


def _is_module(name: str, known: list[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for module in known)


def crossed_seams(module: str, source: str, table: dict[str, set[str]], known: list[str]) -> list[str]:
    """One line for each import that the table does not allow."""
    parts = module.removesuffix(".__init__").split(".")
    room = "cli" if parts[1:] == ["__main__"] else ".".join(parts[1:2]) or "__init__"
    crossed = []
    for line, name in imported_modules(module, source, known):
        inner = name.removeprefix("zsad_bench").lstrip(".")
        target, allowed = inner.split(".")[0], table.get(room, set())
        permitted = any(inner == a or inner.startswith(a + ".") for a in allowed)
        if not (target == room or permitted or "everything" in allowed):
            crossed.append(f"{module}:{line} imports {name}; {room or 'it'} may import {sorted(allowed)}")
        for peers in PEERS:
            own, other = (n.removeprefix(peers + ".").split(".")[0] for n in (module, name))
            both = module.startswith(peers + ".") and name.startswith(peers + ".")
            if both and own not in {other, "__init__"} and other != "base" and not other.startswith("_"):
                crossed.append(f"{module}:{line} imports its neighbour {name}; move what they share down a room")
    return crossed


@pytest.mark.parametrize("module", MODULES)
def test_imports_keep_to_the_room_table(module):
    source = (ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
    crossed = crossed_seams(module, source, room_table(), MODULES)
    assert not crossed, "a seam of docs/design.md is crossed:\n" + "\n".join(crossed)


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("zsad_bench.methods.")])
def test_of_the_methods_only_the_part_for_a_trainer_brings_metrics_along(module):
    source = (ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
    metrics = [name for _, name in imported_modules(module, source, MODULES) if name.startswith("zsad_bench.metrics")]
    assert metrics == (["zsad_bench.metrics.callback"] if module == "zsad_bench.methods._trainer_part" else [])


def test_every_room_stands_in_the_table():
    table = room_table()
    rooms = {module.split(".")[1] for module in MODULES} - {"__main__"}
    assert rooms <= set(table), f"rooms without a line in docs/design.md: {sorted(rooms - set(table))}"
    assert {"types", "methods", "sweep", "cli"} <= set(table), "the room table of docs/design.md could not be read"


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("zsad_bench.leaderboard.")])
def test_the_leaderboard_builds_on_what_is_kept(module):
    """Of its rooms, in the order of docs/design.md, each knows those before it; files beside them come first."""
    layers = ["", "statistics", "tables", "figures", "page"]

    def layer(name: str) -> int:
        room = name.removeprefix("zsad_bench.leaderboard").lstrip(".").split(".")[0]
        return layers.index(room) if room in layers else 0

    source = (ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
    found = imported_modules(module, source, MODULES)
    late = [f"{module}:{line} imports {name}" for line, name in found
            if name.startswith("zsad_bench.leaderboard") and layer(name) > layer(module)]  # fmt: skip
    assert not late, "what is built imports what is built from it:\n" + "\n".join(late)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The sets of modules that import each other, directly or indirectly; [] when no modules do."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(graph.get(start, ()))
        while waiting:
            if (module := waiting.pop()) not in seen:
                seen.add(module)
                waiting += graph.get(module, ())
        return seen

    ways = {module: reached(module) for module in graph}
    sets = {frozenset({module, *(o for o in ways[module] if module in ways.get(o, ()))})
            for module in graph if any(module in ways.get(o, ()) for o in ways[module] - {module})}  # fmt: skip
    return sorted(map(sorted, sets))


def test_no_two_modules_import_each_other():
    """Imports under TYPE_CHECKING and inside functions count: a reader follows them as well."""
    graph = {}
    for module in MODULES:
        source = (ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
        graph[module.removesuffix(".__init__")] = {name for _, name in imported_modules(module, source, MODULES)}
    assert sum(map(len, graph.values())) > len(MODULES), "the imports could not be read"
    assert circles(graph) == []


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}, "c": {"a"}}, [["a", "b"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"e"}, "e": {"d"}}, [["a", "b", "c"], ["d", "e"]]),
        ({"a": {"a"}}, []),  # code that another process is sent names the module it is from
    ],
)
def test_the_check_itself_finds_circles(graph, found):
    assert circles(graph) == found


KNOWN = [
    f"zsad_bench.{m}"
    for m in ("types", "api", "methods.base", "methods.dive", "metrics.pro", "leaderboard.page", "cli")
]


@pytest.mark.parametrize(
    ("module", "source", "crosses"),
    [
        ("zsad_bench.methods.clip", "from zsad_bench.types import Batch\nimport torch", False),
        ("zsad_bench.methods.clip", "from zsad_bench.methods.base import ZeroShotMethod", False),
        ("zsad_bench.methods.clip", "from .base import ZeroShotMethod", False),
        ("zsad_bench.methods.clip", "def f():\n    import zsad_bench.metrics.pro", True),
        ("zsad_bench.methods.clip", "if TYPE_CHECKING:\n    from zsad_bench.data import base", True),
        ("zsad_bench.methods.clip", "from zsad_bench.methods.dive import DIVE", True),
        ("zsad_bench.methods.clip", "from . import dive", True),
        ("zsad_bench.methods.clip", "from ..metrics import pro", True),
        ("zsad_bench.types", "from zsad_bench import cli", True),
        ("zsad_bench.data.demo.draw", "from zsad_bench.data.base import X", False),
        ("zsad_bench.data.datasets.elpv", "from zsad_bench.data.base import X", False),
        ("zsad_bench.data.datasets.elpv", "from zsad_bench.data.datasets.mvtec import X", True),
        ("zsad_bench.runner.run_group", "from zsad_bench.results.rows import append", False),
        ("zsad_bench.runner.run_group", "from zsad_bench.leaderboard import page", True),
        ("zsad_bench.__init__", "from zsad_bench import methods", True),
        ("zsad_bench.__init__", "def f():\n    from zsad_bench import api", False),
        ("zsad_bench.methods.base", "from zsad_bench.metrics.callback import X", False),
        ("zsad_bench.methods.base", "from zsad_bench.metrics.image import X", True),
        ("zsad_bench.cli", "from zsad_bench.leaderboard import page", False),
    ],
)
def test_the_check_itself_tells_seams_apart(module, source, crosses):
    crossed = crossed_seams(module, source, room_table(), KNOWN)
    assert bool(crossed) == crosses, f"{module}: `{source}` gave {crossed or 'nothing'}"


# --- what is depended on ----------------------------------------------------------------------------------------------


def _requirements() -> list[Requirement]:
    project = PYPROJECT["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    found = [Requirement(line) for line in project["dependencies"] + extras]
    return [one for one in found if one.name != project["name"]]  # an extra that takes others along


def _constraints() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in pins}


def test_the_agpl_successor_of_albumentations_is_no_dependency():
    names = {canonicalize_name(r.name) for r in _requirements()} | set(_constraints())
    assert "albumentations" in names, "albumentations itself is missing: is the list read at all?"
    assert "albumentationsx" not in names, "albumentationsx is AGPL and cannot go into an Apache-2.0 package"


def test_the_malicious_releases_of_lightning_are_out_of_bounds():
    bound = next(r.specifier for r in _requirements() if r.name == "lightning")
    assert bound.contains("2.6.6"), f"lightning {bound} leaves out the tested version"
    for version in ("2.6.2", "2.6.3"):
        assert not bound.contains(version), f"lightning {version} was a malicious release, and {bound} lets it in"


def test_every_bound_gives_its_reason():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for requirement in _requirements():
        (line,) = re.findall(rf'^    "{re.escape(requirement.name)}[\[<>=].*$', text, flags=re.MULTILINE)
        assert requirement.specifier, f"{requirement.name} has no bound"
        assert re.search(r'", # \w', line), f"{requirement.name}: say beside the bound why it is there: {line.strip()}"


def test_the_tested_set_lies_within_the_bounds():
    pins = _constraints()
    for requirement in _requirements():
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin, f"{requirement.name} is missing from constraints.txt"
        (version,) = [s.version for s in pin.specifier]
        assert requirement.specifier.contains(version), f"{pin} is outside pyproject's {requirement}"


# --- what is printed is data ------------------------------------------------------------------------------------------

# Of rich, what reads no markup by itself; all else is in zsad_bench/console.py.
OF_RICH = re.compile(r"rich\.(box|text\.Text|live\.Live|console\.Group|progress\.(?!Text)\w+Column)")


def markup_in(source: str) -> list[str]:
    """Lines that could take a name for markup: what they import of rich, or how they make a text of it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and node.attr in ("from_markup", "from_ansi"):
            found.append(f"{node.lineno}: {node.attr}")
        elif isinstance(node, ast.keyword) and node.arg in ("markup", "emoji", "highlight"):
            found.append(f"{node.value.lineno}: {node.arg}=")
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") == "print"
            and any(isinstance(part, ast.JoinedStr) for arg in node.args for part in ast.walk(arg))
        ):
            found.append(f"{node.lineno}: print of what may be a name; say() of zsad_bench/printable.py writes it out")
        found += [
            f"{node.lineno}: {name}" for name in names if name.split(".")[0] == "rich" and not OF_RICH.match(name)
        ]
    return found


@pytest.mark.parametrize("module", [m for m in MODULES if m != "zsad_bench.console"])
def test_nothing_but_the_console_reads_markup(module):
    source = (ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
    assert not (found := markup_in(source)), f"{module}: take it from zsad_bench/console.py: {found}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from rich.console import Console", 1),
        ("from rich.table import Table", 1),
        ("import rich", 1),
        ("from rich import print", 1),
        ("from rich.progress import TextColumn, BarColumn, track", 2),
        ("from rich.markup import escape", 1),
        ("Text.from_markup(name)", 1),
        ("console.print(name, markup=True)", 1),
        ("print(f'{path}')", 1),
        ("from rich import box\nfrom rich.text import Text\nfrom rich.live import Live", 0),
        ("print(json.dumps(content))", 0),
    ],
)
def test_the_check_itself_tells_markup(source, found):
    assert len(markup_in(source)) == found


# --- a command line that answers at once ------------------------------------------------------------------------------

HEAVY = ("torch", "torchvision", "lightning", "open_clip", "torchmetrics", "albumentations", "cv2", "sklearn", "wandb")


def _python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_importing_the_command_line_leaves_torch_out():
    done = _python(f"import sys, zsad_bench.cli; print(*[m for m in {HEAVY} if m in sys.modules])")
    assert done.returncode == 0, f"zsad_bench.cli could not be imported:\n{done.stderr}"
    assert not done.stdout.strip(), f"`zsad-bench --help` pays for: {done.stdout.strip()}; import inside functions"


def test_help_takes_less_than_half_a_second():
    """CPU time, the best of five, so that a busy machine does not decide."""
    code = "import sys; sys.argv[0] = 'zsad-bench'; from zsad_bench.cli import main; sys.exit(main())"
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = _python(code, "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        assert done.returncode == 0, f"--help ended with {done.returncode}:\n{done.stderr}"
        assert "bench" in done.stdout, f"--help does not name its commands:\n{done.stdout}"
    assert min(seconds) < 0.5, f"--help took {min(seconds):.2f} s of CPU at best; what does it import? ({seconds})"
