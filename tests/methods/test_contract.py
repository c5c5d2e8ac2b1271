# pytest tests/methods/test_contract.py
"""What every method in `methods/` keeps to; a new file is tested without writing a test."""

from __future__ import annotations

from tests.methods.contract import *  # noqa: F403 the tests
from zsad_bench import registry

CLASSES = {name: registry.load("methods", name) for name in registry.names("methods")}
