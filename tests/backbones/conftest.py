"""Images for the random miniature CLIP of the root conftest."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    """(3,3,32,32), the native size."""
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
