"""Generated classes to judge candidates of the tiny CLIP on: never trained on, never a target."""

from __future__ import annotations

from zsad_bench.data.demo.module import DemoDataModule


class DemoHeldback(DemoDataModule):
    title = "Demo held back"
    domain = "industrial"
