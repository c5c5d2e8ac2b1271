"""Generated target organs and cells: brain, colon and cell."""

from __future__ import annotations

from zsad_bench.data.demo.module import DemoDataModule


class DemoMedical(DemoDataModule):
    title = "Demo medical"
    domain = "medical"
