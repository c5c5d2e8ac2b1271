"""How a sweep stands, from any shell: read from what the sweep writes, here or on another machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from zsad_bench.commands._sweep_view import print_cells, print_summary, table
from zsad_bench.console import Console
from zsad_bench.errors import ZsadError
from zsad_bench.options import Argument, Option
from zsad_bench.sweep.sweep_folder import SweepFolder
from zsad_bench.sweep.sweep_status import SweepStatus


@dataclass(frozen=True, kw_only=True)
class Options:
    recipe: Annotated[str, Argument("RECIPE|FILE.yaml", "as given to `sweep`", names="recipes")]
    cells: Annotated[bool, Option(help="group by group instead of counts")] = False
    runs: Annotated[str, Option("FOLDER", "as given to `sweep`", names="recipes")] = "runs"


def run(options: Options) -> int:
    """Prints how a sweep stands; exit code 0 when it is complete, 1 when something failed, else 0.

    Raises:
        ZsadError: it was never started from here.
    """
    asked = options.recipe
    folder = SweepFolder(Path(options.runs) / "sweeps" / Path(asked).stem)
    if not folder.plan_file.is_file():
        raise ZsadError(f"no sweep of {asked} in {folder.path.parent}; start it with `zsad-bench sweep {asked}`")
    console = Console()
    status = SweepStatus.read(folder)
    if options.cells:
        print_cells(status, console)
    else:
        console.print(table(status))
    print_summary(status, console)
    return 1 if status.counts()["failed"] else 0
