"""Images that several groups of a machine read are decoded once: a folder that they share while a sweep runs.

It lies where temporary files do, on this machine, and is removed at the end. What a killed sweep left is removed by the
next one.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from zsad_bench.data.image_cache import SHARED, SharedImages
from zsad_bench.planning.plan import JobGroup
from zsad_bench.runner.expected_rows import ExpectedRows
from zsad_bench.runner.feature_room import readable
from zsad_bench.sweep.sweep_status import SweepStatus

PREFIX = "zsad-bench-decoded-"  # and the id of the process that removes it
SHARE = 4  # the part of the free disk that is taken without being asked: a quarter
_BESIDE = 1000  # bytes of a file beside its pixels


@contextmanager
def decoded_once(
    status: SweepStatus, groups: Sequence[JobGroup], side_by_side: int, say: Callable[[str], None]
) -> Iterator[dict[str, str]]:
    """What the environment of the groups' processes needs to share decoded images; {} where there is nothing to share.

    groups: those that are due. side_by_side: how many run at once on this machine. say: gets a line with the budget.
    """
    size = shared_bytes(status, groups) if side_by_side > 1 else 0
    place = Path(tempfile.gettempdir())
    if not size:
        yield {}
        return
    remove_left(place)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place))
    try:
        free = shutil.disk_usage(folder).free
        budget = free // SHARE
        more = "; what does not fit is decoded by each group" if size > budget else ""
        say(
            f"groups that run at once decode each image once: at most {readable(size)} in {folder} while the sweep "
            f"runs, which may take {readable(budget)}{more}"
        )
        yield {SHARED: SharedImages(folder, free - budget).to_text()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def shared_bytes(status: SweepStatus, groups: Sequence[JobGroup]) -> int:
    """What the decoded images take, at most, that two groups or more read. Augmented ones are others each time."""
    counts: dict[tuple[str, str, int], int] = {}  # kind, name, image size -> images
    readers: dict[tuple[str, str, int], set[str]] = {}
    for group in groups:
        for cell in group.cells:
            size, rows = status.sizes.get(cell.id), status.cells.get(cell.id)
            if size is None or not isinstance(rows, ExpectedRows) or status.rows.is_done(rows):
                continue
            found = {("target", cell.target, rows.image_size): size.tested}
            if size.trained and not cell.job.augment:
                found["auxiliary", size.auxiliary, rows.image_size] = size.n_auxiliary
            for which, count in found.items():
                counts[which] = max(count, counts.get(which, 0))
                readers.setdefault(which, set()).add(group.id)
    shared = {which: count for which, count in counts.items() if len(readers[which]) > 1}
    return sum(count * (3 * side**2 + side**2 // 8 + _BESIDE) for (_, _, side), count in shared.items())


def remove_left(place: Path) -> None:
    """Removes what sweeps of this user left that were killed."""
    for folder in place.glob(f"{PREFIX}*"):
        found = re.fullmatch(rf"{PREFIX}(\d+)-\w+", folder.name)
        with suppress(OSError):
            if found and folder.stat().st_uid == os.getuid() and not _runs(int(found[1])):
                shutil.rmtree(folder, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
