"""BMAD chest: images in img/ of each folder, without masks."""

from __future__ import annotations

from tests.data.miniatures._bmad import writer

LAYOUTS = ("raw", "meta_json")
SAME = LAYOUTS
write = writer("chest", "abnormal", "Chest-RSNA", "test/{folder}/img/{stem}.png")
