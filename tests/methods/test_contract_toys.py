# pytest tests/methods/test_contract_toys.py
"""The contract, kept by methods of another package that between them ask for all that the interface promises."""

from __future__ import annotations

import pytest

from tests.methods import toys
from tests.methods.contract import *  # noqa: F403 the tests

CLASSES = {name: toys.load(name) for name in toys.NAMES}
pytestmark = pytest.mark.usefixtures("toys")
