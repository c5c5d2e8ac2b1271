"""BMAD histopathology: the folders of images in img/, without masks."""

from __future__ import annotations

from tests.data.miniatures._bmad import writer

LAYOUTS = ("raw", "meta_json")
SAME = LAYOUTS
write = writer("histopathology", "metastasis", "camelyon16_256", "test/img/{folder}/{stem}.png")
