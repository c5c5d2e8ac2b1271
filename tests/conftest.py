"""The environment that every test runs in: no network, no tracking, one thread, and nothing of the user's own data.

Set here, before torch or albumentations are imported; fixtures live in the rooms' own conftest files.
"""

from __future__ import annotations

import os

os.environ.update(
    HF_HUB_OFFLINE="1",  # an unreachable hub answers in 0.1 s instead of 48 s
    WANDB_MODE="disabled",
    NO_ALBUMENTATIONS_UPDATE="1",  # no version check at import
    OMP_NUM_THREADS="1",  # workers share the cores; sums have one order
)
for name in ("ZSAD_DATA", "ELPV"):  # what `auto` and the targets would take must not depend on who runs the tests
    os.environ.pop(name, None)
