"""Draws images of the demo suite to files, by several processes when there are many.

The processes are plain children, started by this module's name: a multiprocessing pool would import the caller's
script again, torch and all, and fail where that has no `__main__` guard.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Queue
from typing import NamedTuple

import numpy as np
from PIL import Image

from zsad_bench.data.demo import generate
from zsad_bench.errors import DatasetError, ZsadError

_CHUNK = 20  # images drawn between two reports


class Draw(NamedTuple):
    """One image to draw. position: its place in the stream of (part, category, seed); number: in the file name."""

    part: str
    category: str
    number: int
    position: int
    seed: int
    defect: str | None  # None: a normal image


def draw_all(planned: Sequence[Draw], root: Path, processes: int) -> Iterator[dict[str, str]]:
    """Writes every image and mask under `root`; yields {path: sha256 of the pixels, 16 hex digits}, some at a time.

    Pixels depend on the draws alone, not on how many processes share them; the order of what is yielded may.

    Raises:
        DatasetError: a child process failed or was killed; what it said is in the message. OSError: disk full.
    """
    if processes == 1 or not sys.executable:
        for start in range(0, len(planned), _CHUNK):
            yield _draw(planned[start : start + _CHUNK], root)
        return
    reports: Queue[dict[str, str] | None] = Queue()
    children = [_start_child(planned[i::processes], root, reports) for i in range(processes)]
    try:
        for _ in children:
            while (report := reports.get()) is not None:
                if "error" in report:
                    raise DatasetError(report["error"])
                yield report
        codes = [child.wait() for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    if any(codes):
        raise DatasetError(
            f"{planned[0].part}: a process that draws images ended with code {next(filter(None, codes))}; "
            "a negative one means killed, perhaps for memory. Run the command again"
        )


def _start_child(share: Sequence[Draw], root: Path, reports: Queue[dict[str, str] | None]) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-m", __name__, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl-C is the parent's to handle, once
    )

    assert child.stdin is not None  # both are pipes, as asked above
    assert child.stdout is not None
    to_child, from_child = child.stdin, child.stdout

    def talk() -> None:
        try:
            with child:
                to_child.write(json.dumps(share) + "\n")
                to_child.flush()  # and stays open: its end tells the child that this process has died
                for line in from_child:
                    reports.put(json.loads(line))
        except BrokenPipeError:
            pass  # the child ended first; its exit code is reported
        finally:
            reports.put(None)

    threading.Thread(target=talk, daemon=True).start()
    return child


def _draw(share: Sequence[Draw], root: Path) -> dict[str, str]:
    written: dict[str, str] = {}
    for draw in share:
        rng = generate.rng_for(draw.part, draw.category, draw.seed, draw.position)
        if draw.defect is None:
            files = {f"{draw.category}/test/good/{draw.number:03d}.png": generate.pair(draw.category, rng).normal}
        else:
            pair = generate.pair(draw.category, rng, defects=(draw.defect,))
            files = {
                f"{draw.category}/test/{pair.defect}/{draw.number:03d}.png": pair.anomalous,
                f"{draw.category}/ground_truth/{pair.defect}/{draw.number:03d}_mask.png": np.uint8(255) * pair.mask,
            }
        for path, pixels in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(target, compress_level=1)
            content = f"{pixels.shape}".encode() + np.ascontiguousarray(pixels).tobytes()
            written[path] = hashlib.sha256(content).hexdigest()[:16]
    return written


def _child(root: Path) -> None:
    share = [Draw(*fields) for fields in json.loads(sys.stdin.readline())]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        for start in range(0, len(share), _CHUNK):
            print(json.dumps(_draw(share[start : start + _CHUNK], root)), flush=True)
    except (ZsadError, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):  # not sys.stdin.read(): its lock would be held while the interpreter ends
        pass
    os._exit(1)


if __name__ == "__main__":
    import cv2

    cv2.setNumThreads(1)  # one process per core is enough
    _child(Path(sys.argv[1]))
