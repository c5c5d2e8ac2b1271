"""Small generated datasets in a cache of the test session's own; nothing of the user's is read."""

from __future__ import annotations

from pathlib import Path

import pytest

SCALE = 0.04  # of the usual number of images: 3 to 4 per category and label


@pytest.fixture
def small_demo(cache: Path):
    """demo(name, **options): a small generated data module at 32 px."""
    from zsad_bench import registry

    def demo(name: str, **options):
        return registry.load("datasets", name)(**{"scale": SCALE, "image_size": 32, "workers": 0, **options})

    return demo
