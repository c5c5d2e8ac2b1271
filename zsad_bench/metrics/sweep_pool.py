"""Threads on which RCPRO's sweeps run while the process encodes the next batch.

The compiled loops release the interpreter, so sweeps of several images run at once, and beside what drives a device.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from numpy.typing import NDArray

from zsad_bench.metrics.functional.component_events import RcproEvents
from zsad_bench.metrics.functional.component_tree import Matching
from zsad_bench.metrics.functional.rcpro import image_events
from zsad_bench.metrics.functional.regions import Regions

MOST_THREADS = 4  # a sweep takes milliseconds, and further cores are better used to load images
MAPS_PER_THREAD = 2  # one in work, and one that waits


class SweepPool:
    """threads: how many sweeps run at once. maps: how many maps are held at most, in work or waiting.

    A map and its mask are copied, 5 bytes per pixel, so the caller may reuse its own. Whoever makes a pool closes it.
    """

    def __init__(self, threads: int, maps: int | None = None) -> None:
        self.maps = MAPS_PER_THREAD * threads if maps is None else maps
        if threads < 1 or self.maps < 1:
            raise ValueError(f"a pool needs a thread and room for a map, found threads={threads}, maps={self.maps}")
        self._room = threading.BoundedSemaphore(self.maps)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="rcpro")

    def submit(self, map_HW: NDArray, mask_HW: NDArray, matching: Matching, regions: Regions) -> Future[RcproEvents]:
        """The events of an image, as `rcpro.image_events` finds them. Waits while the pool is full."""
        self._room.acquire()
        held = [(map_HW.copy(), mask_HW.copy())]
        try:
            found = self._threads.submit(_swept, held, matching, regions)
        except BaseException:  # the pool is closed, or the interpreter ends
            self._room.release()
            raise
        found.add_done_callback(lambda _: self._room.release())
        return found

    def close(self) -> None:
        """Ends the threads; sweeps that have not begun are cancelled."""
        self._threads.shutdown(cancel_futures=True)


def _swept(held: list[tuple[NDArray, NDArray]], matching: Matching, regions: Regions) -> RcproEvents:
    map_HW, mask_HW = held.pop()  # out of what the executor holds: the map is free before the room is
    return image_events(map_HW, mask_HW, matching, regions=regions)


def spare_threads(beside_device: bool) -> int:
    """How many threads sweeps may have; 0 where one thread is all there is.

    beside_device: sweeps run while this thread drives a device, so one is its own. Else it waits for them.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    usable = min(cores, torch.get_num_threads())
    return min(MOST_THREADS, usable - 1 if beside_device else usable) if usable > 1 else 0
