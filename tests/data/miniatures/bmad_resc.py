"""BMAD RESC: images and masks in folders of their own, below a phase that is there twice."""

from __future__ import annotations

from tests.data.miniatures._bmad import writer

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = LAYOUTS
write = writer("retina", "edema", "RESC", "Test/test/{folder}/{stem}.png", "Test/test_label/{folder}/{stem}.png")
