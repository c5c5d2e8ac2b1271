# pytest tests/metrics/test_compiled.py
"""numba is loaded where it pays, and only there."""

from __future__ import annotations

import sys

import pytest

from zsad_bench.metrics.functional import compiled


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(compiled, "_asked", [0])
    monkeypatch.setattr(compiled, "has_numba", lambda: True)
    monkeypatch.delitem(sys.modules, "numba", raising=False)


def test_small_work_adds_up_until_it_pays():
    asked = [compiled.is_worth_loading(compiled.WORTH // 3) for _ in range(4)]
    assert asked == [False, False, False, True]


def test_what_is_loaded_is_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", object())
    assert compiled.is_worth_loading(1)


def test_without_numba_never(monkeypatch):
    monkeypatch.setattr(compiled, "has_numba", lambda: False)
    assert not compiled.is_worth_loading(compiled.WORTH)
