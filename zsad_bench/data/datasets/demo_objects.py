"""Generated target objects: bottle, screw, key, hazelnut and cable."""

from __future__ import annotations

from zsad_bench.data.demo.module import DemoDataModule


class DemoObjects(DemoDataModule):
    title = "Demo objects"
    domain = "industrial"
