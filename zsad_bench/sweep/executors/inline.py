"""One group after the other in this very process: for one device, and where an error is to be seen as it is."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from zsad_bench.sweep.executors import Event, Task


class Inline:
    """Calls a function with the id of each task; an error stops it and is raised."""

    def __init__(self, compute: Callable[[str], object]) -> None:
        self.compute = compute

    def run(self, tasks: Sequence[Task]) -> Generator[Event, None, None]:
        """The events of the tasks."""
        for task in tasks:
            yield Event("started", task.id, "this process")
            self.compute(task.id)
            yield Event("ended", task.id, "this process", 0)
