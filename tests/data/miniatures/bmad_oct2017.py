"""BMAD OCT2017: two folders of images, without masks."""

from __future__ import annotations

from tests.data.miniatures._bmad import writer

LAYOUTS = ("raw", "meta_json")
SAME = LAYOUTS
write = writer("retina", "disease", "OCT2017", "test/{folder}/{stem}.png")
