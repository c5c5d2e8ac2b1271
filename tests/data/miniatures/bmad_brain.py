"""BMAD brain: images in img/ of each folder, masks beside them in label/."""

from __future__ import annotations

from tests.data.miniatures._bmad import writer

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = LAYOUTS
write = writer("brain", "tumor", "Brain_AD", "test/{folder}/img/{stem}.png", "test/{folder}/label/{stem}.png")
