"""BMAD liver: images in no folder of their own, masks in anomaly_mask/."""

from __future__ import annotations

from tests.data.miniatures._bmad import writer

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = LAYOUTS
write = writer("liver", "tumor", "hist_DIY", "test/{folder}/{stem}.png", "test/Ungood/anomaly_mask/{stem}.png")
