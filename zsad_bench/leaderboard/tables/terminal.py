"""The tables at the end of a run: fit for 80 columns, without colour or rules when not a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from zsad_bench import metric_keys
from zsad_bench.leaderboard.tables.leaderboard_tables import Board, Line, Table, build
from zsad_bench.leaderboard.tables.partial import MARK
from zsad_bench.printable import printable
from zsad_bench.results.row import Row

if TYPE_CHECKING:
    from zsad_bench.console import Console

_ASCII = str.maketrans({"±": "+-", "–": "-", "·": ",", MARK: "*"})
_COLUMNS = metric_keys.columns(terminal=True)


def print_tables(rows: Iterable[Row], console: Console, board: Board) -> None:
    """Print the groups with their overall mean method by method, then each target that stands apart.

    Conflicts, undefined values and what was left out follow the tables, as in the Markdown page.
    """
    from zsad_bench.console import styled

    report = build(rows, board)

    def say(text: str, style: str = "") -> None:
        text = text.translate(_ASCII) if console.options.ascii_only else text
        console.print(styled(text, style), soft_wrap=not console.is_terminal)

    if not report.tables:
        say("no rows to show")
    grouped = [table for table in report.tables if table.name == "overall" or table.name in board.groups]
    # the overall line closes each method's block
    grouped.sort(key=lambda table: table.name == "overall")
    blocks = [(f"{board.suite} suite", grouped)] if grouped else []
    blocks += [(table.title, [table]) for table in report.tables if table not in grouped]
    for title, tables in blocks:
        console.print()
        say(f"{title}: percent, mean over categories{_seeds(tables)}", "bold")
        for grid in _grids(tables, console):
            console.print(grid)
        say(tables[-1].note, "dim")
        if tables[-1].partial:
            say(tables[-1].partial, "yellow")
    for title, sentences, style in (
        ("two values for one number in one run, neither is used", report.conflicts, "red"),
        ("undefined", report.undefined, "dim"),
        ("left out", report.left_out, "yellow"),
        ("from the future", report.ahead, "yellow"),
    ):
        for sentence in sentences:
            say(f"{title}: {sentence}", style)


def _seeds(tables: list[Table]) -> str:
    several = any(cell.spreads for table in tables for line in table.lines for cell in line.cells.values())
    return " ± standard error over runs" if several else ""


def _grids(tables: list[Table], console: Console) -> Iterator:
    """The tables side by side in as many blocks as the width needs; one, nearly always."""
    left = [metric for metric in _COLUMNS if any(metric in table.columns for table in tables)]
    while True:
        for n in range(len(left), -1, -1):
            grid = _grid(tables, left[:n], console)
            if n <= 1 or console.measure(grid).minimum <= console.width:
                yield grid
                left = left[n:]
                break
        if not left:
            return


def _grid(tables: list[Table], columns: list[str], console: Console):
    """One rich table: a block a method with one line a target, or one line a method where there is one target."""
    from rich import box
    from rich.text import Text

    from zsad_bench.console import Table as Grid

    def cell(text: str, style: str = "") -> Text:
        text = text.translate(_ASCII) if console.options.ascii_only else text
        return Text("\n".join(map(printable, text.split("\n"))), style=style)

    grid = Grid(
        box=box.SIMPLE_HEAD if console.is_terminal else None,
        pad_edge=False,
        collapse_padding=console.width < 90,
        show_edge=False,
    )
    grid.add_column("method · prior" if not console.options.ascii_only else "method, prior")
    grid.add_column("", style="dim")
    for metric in columns:
        grid.add_column(_COLUMNS[metric].replace(" ", "\n"), justify="right", no_wrap=True)
    blocks: dict[tuple, list[tuple[Table, Line]]] = {}
    for table in tables:
        for line in table.lines:
            blocks.setdefault(line.key, []).append((table, line))
    for block in blocks.values():
        line = block[0][1]
        style = "dim" if line.sanity else ""
        alone = len(tables) == 1
        if not alone:
            grid.add_row(cell(_name(line), style or "bold"), cell(_count(line.n_runs, "run")))
        for table, line in block:
            overall = table.name == "overall"
            grid.add_row(
                cell(_name(line) if alone else f"  {table.title}", style),
                cell(_count(line.n_runs, "run") if alone else f"{table.n_categories} cat."),
                *(cell(_number(line, metric), _style(line, metric, style)) for metric in columns),
                end_section=overall and console.is_terminal,
            )
    return grid


def _number(line: Line, metric: str) -> str:
    return line.cells[metric].text("±", "\n") if metric in line.cells else "–"


def _style(line: Line, metric: str, otherwise: str) -> str:
    return "bold" if metric in line.cells and line.cells[metric].best else otherwise


def _name(line: Line) -> str:
    prior = () if line.prior in ("", "none") else (line.prior,)
    return " · ".join([line.title, *prior, *line.extra, *(("sanity",) if line.sanity else ())])


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
