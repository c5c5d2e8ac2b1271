"""Every object of the demo suite by name: `OBJECTS[name](rng)` is a defect-free `Scene`."""

from __future__ import annotations

from collections.abc import Callable

from numpy.random import Generator

from zsad_bench.data.demo.canvas import Scene
from zsad_bench.data.demo.objects_food import blob, capsule, cookie, cracker, hazelnut, pill
from zsad_bench.data.demo.objects_hardware import (
    bolt,
    bottle,
    button,
    cable,
    candle,
    chip,
    coin,
    gasket,
    gear,
    key,
    nut,
    screw,
    washer,
)

OBJECTS: dict[str, Callable[[Generator], Scene]] = {
    renderer.__name__: renderer
    for renderer in (
        *(bolt, pill, washer, coin, button, cookie, gear, candle, blob),
        *(capsule, nut, chip, gasket, cracker),
        *(bottle, screw, key, hazelnut, cable),
    )
}
