"""All benchmarks of this folder, one after the other, each in a process of its own: `make speed`.

A file takes part if it assigns `BENCHMARK` at its top level; there is no list. What each found goes into a JSON file
and, at full size, into docs/speed.md. One that fails is named, keeps its earlier section and does not stop the others.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from _suite import REPEATS, claims_of, conditions

from zsad_bench import registry
from zsad_bench.atomic import write_whole
from zsad_bench.errors import UsageError, ZsadError

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
OUT = ROOT / "runs" / "speed"
PAGE = ROOT / "docs" / "speed.md"
DATA = "speed.json"  # beside the page: what it is made of
LOADED = 0.1  # of the CPU time, by other processes: beyond it a section says so
# One thread, so that CPU time is work and not waiting; what the Makefile gives every run; and threads that sleep.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "GOMP_SPINCOUNT": "10000",
}
INTRODUCTION = """\
# Speed

Each section compares one part of the program with a plainly written reference of the usual way, which is in the same
file of `benchmarks/speed/`. Both run in one process, in turns that alternate; the ratio is taken turn by turn, and the
table shows its median with the lowest and the highest in brackets. Ratios are of CPU time, with one thread: what else
the machine does counts little then. Absolute seconds belong to the machine that the section names.

`make speed` runs all of them and writes this page; `make speed ARGS="--only shared_pass"` runs one. Time and memory of
each method are in [speed_methods.md](speed_methods.md), the metrics in [metrics.md](metrics.md), sweeps in
[sweeps.md](sweeps.md)."""


def declared(folder: Path = FOLDER) -> dict[str, Path]:
    """Name -> file of each benchmark that declares itself, by name; nothing is imported."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
        if any(isinstance(target, ast.Name) and target.id == "BENCHMARK" for target in targets):
            found[path.stem] = path
    return found


def run(path: Path, out: Path, options: Sequence[str] = ()) -> dict[str, Any] | str:
    """The record of one benchmark, which is also in the file `out`, or the last line that its process printed."""
    out.unlink(missing_ok=True)  # what an earlier run left is not this run's
    environment = (
        ENVIRONMENT | os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    )
    command = [sys.executable, str(path), "--json", str(out), *options]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        last = ""
        for line in process.stderr or ():
            print(line, end="", file=sys.stderr, flush=True)
            last = line.strip() or last
    if process.returncode:
        return last or f"ended with exit code {process.returncode} (-9: out of memory)"
    if not out.is_file():
        return f"{path.name} left no record; end it with main(BENCHMARK)"
    record: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return record


# --- the page ---------------------------------------------------------------------------------------------------------


def kept(page: Path) -> dict[str, dict[str, Any]]:
    """The records that a page was made of, by name.

    Raises:
        UsageError: the file beside the page cannot be read.
    """
    path = page.with_name(DATA)
    if not path.is_file():
        return {}
    try:
        records: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error}); put it back or remove it") from error
    return records


def page_of(records: Mapping[str, Mapping[str, Any]]) -> str:
    """The page: what each benchmark is run for, then a section for each."""
    from zsad_bench.leaderboard.tables.render import padded

    overview = [
        [claim.what, str(claim.value), claim.goal, {None: "–", True: "yes", False: "no"}[claim.met]]
        for name in sorted(records)
        for claim in claims_of(records[name])
    ]
    table = padded([["what", "measured", "goal", "kept"], *overview], [True, False, False, False])
    missing = ", ".join(sorted(declared().keys() - records.keys()))
    lacking = [f"Not measured yet: {missing}."] if missing else []
    sections = (_section(name, records[name]) for name in sorted(records))
    return "\n\n".join([INTRODUCTION, table, *lacking, *sections]) + "\n"


def _section(name: str, record: Mapping[str, Any]) -> str:
    from zsad_bench.leaderboard.tables.render import padded

    repeats = "" if record["repeats"] == REPEATS else f" --repeats {record['repeats']}"
    busy = " **On a busy machine seconds say little.**" if (record["others"] or 0) > LOADED else ""
    return "\n\n".join(
        [
            f"## {record['title']}",
            record["text"],
            padded([record["head"], *record["lines"]], [i == 0 for i in range(len(record["head"]))]),
            f'Measured by `make speed ARGS="--only {name}{repeats}"`: {conditions(record)}{busy}',
        ]
    )


def write_page(page: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes the page anew, from these records and those that it had of other benchmarks."""
    known = kept(page) | {record["name"]: {k: v for k, v in record.items() if k != "raw"} for record in records}
    write_whole(page.with_name(DATA), (json.dumps(known, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode())
    write_whole(page, page_of(known).encode())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="names of files, separated by commas")
    parser.add_argument("--quick", action="store_true", help="miniatures: do the scripts still run?")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="turns, of which the median counts")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON files")
    parser.add_argument("--page", type=Path, help=f"page to write; {PAGE.name} at full size")
    options = parser.parse_args(arguments)
    known = declared()
    asked = [name for words in options.only for name in words.split(",") if name] or list(known)
    try:
        for name in asked:
            if name not in known:
                raise UsageError(registry.did_you_mean("benchmark", name, list(known)))
        words = ["--repeats", str(options.repeats), *(["--quick"] if options.quick else [])]
        found = {name: run(known[name], options.out / f"{name}.json", words) for name in asked}
        page = options.page or (None if options.quick else PAGE)
        records = [record for record in found.values() if not isinstance(record, str)]
        if page and records:
            write_page(page, records)
    except ZsadError as error:
        print(f"suite.py: {error}", file=sys.stderr)
        return error.exit_code
    failed = {name: reason for name, reason in found.items() if isinstance(reason, str)}
    for name, reason in failed.items():
        print(f"{name} failed: {reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
