"""What is printed through rich. A text is data: nothing in it is markup, an emoji code or a control sequence.

No other file makes a console, a table or a progress bar of rich; `tests/test_house.py` holds that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich import console, table
from rich import progress as bars
from rich.style import Style
from rich.text import Text

from zsad_bench.printable import printable


class Console(console.Console):
    """rich's, for data. A text is printed as one line that is never broken: a path can be copied whole."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def print(
        self, *objects: Any, style: str | Style | None = None, soft_wrap: bool | None = None, **options: Any
    ) -> None:
        """Texts as `styled` has them, leading line ends kept; tables and `Text` as they are."""
        if objects and all(isinstance(each, str) for each in objects):
            soft_wrap = True
        options |= {"markup": False, "emoji": False, "highlight": False}
        super().print(*map(_as_text, objects), style=style, soft_wrap=soft_wrap, **options)

    def warn(self, line: str) -> None:
        """A line in yellow."""
        self.print(line, style="yellow")

    def pairs(self, lines: Iterable[tuple[str, str]]) -> None:
        """One line per pair: a name, in a column of its own, and its description."""
        lines = list(lines)
        width = max((len(name) for name, _ in lines), default=0)
        for name, text in lines:
            line = styled(printable(name).ljust(width), "bold")
            super().print(line.append(f"  {printable(text)}", "not bold"), soft_wrap=True)

    def rule(self, title: str | Text = "", **options: Any) -> None:
        super().rule(styled(title) if isinstance(title, str) else title, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """The cells of a table as strings, without markup."""
        options |= {"markup": False, "emoji": False, "highlight": False}
        lines = "\n".join(map(printable, text.split("\n")))  # a header may have two
        return super().render_str(lines, **options)


class Table(table.Table):
    """rich's, for data: a cell is one line of text, or a `Text`."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*(styled(cell) if isinstance(cell, str) else cell for cell in cells), **options)


class Progress(bars.Progress):
    """rich's, on standard error and only in a terminal; descriptions are data."""

    def __init__(self, *columns: bars.ProgressColumn) -> None:
        stderr = Console(stderr=True)
        super().__init__(Description(), *columns, console=stderr, transient=True, disable=not stderr.is_terminal)


class Description(bars.TextColumn):
    """The column of a progress bar that says what is done."""

    def __init__(self) -> None:
        super().__init__("{task.description}", markup=False)

    def render(self, task: bars.Task) -> Text:
        return styled(task.description)


def styled(text: str, style: str = "") -> Text:
    """A text for a terminal, with what cannot be printed written out."""
    return Text(printable(text), style=style)


def _as_text(printed: Any) -> Any:
    if not isinstance(printed, str):
        return printed
    body = printed.lstrip("\n")
    return Text("\n" * (len(printed) - len(body)) + printable(body))
