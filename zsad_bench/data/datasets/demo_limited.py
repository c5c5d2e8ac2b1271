"""Generated auxiliary data of a limited prior: two textures, stains and discolorations only."""

from __future__ import annotations

from zsad_bench.data.demo.module import DemoDataModule


class DemoLimited(DemoDataModule):
    title = "Demo limited"
    domain = "industrial"
