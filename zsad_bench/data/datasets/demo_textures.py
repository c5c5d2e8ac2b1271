"""Generated target textures: perforated sheet, terrazzo and carpet."""

from __future__ import annotations

from zsad_bench.data.demo.module import DemoDataModule


class DemoTextures(DemoDataModule):
    title = "Demo textures"
    domain = "industrial"
