"""Generated auxiliary data of a rich prior: six classes with every defect they can have."""

from __future__ import annotations

from zsad_bench.data.demo.module import DemoDataModule


class DemoRich(DemoDataModule):
    title = "Demo rich"
    domain = "industrial"
