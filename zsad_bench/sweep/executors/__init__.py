"""Where the groups of a plan run. An executor starts commands and reports what happens to them, nothing else.

    def run(tasks: Sequence[Task]) -> Generator[Event, None, None]

It starts every task as an operating-system process, in the order given where it has fewer places than tasks, and yields
an event when one starts and when one ends, and `tick` at least every few seconds in between. Whether a task succeeded
is read from the rows by whoever asked. Closing the iterator stops what still runs. A file of this folder is an
executor.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol


@dataclass(frozen=True)
class Task:
    """A command that may be started any number of times, anywhere that sees the same files.

    environment: on top of the executor's own. log: where its output is appended.
    """

    id: str
    command: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """What happened to a task; a tick is of none. where: host, GPU or job. code: of the process, when it ended."""

    kind: Literal["started", "ended", "tick"]
    task: str = ""
    where: str = ""
    code: int | None = None


class Executor(Protocol):
    """See the top of this file."""

    def run(self, tasks: Sequence[Task]) -> Generator[Event, None, None]: ...
