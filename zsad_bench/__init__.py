"""Benchmark suite for zero-shot visual anomaly detection; `docs/python.md` shows what is here.

Importing it imports nothing heavy: each name is looked up in `zsad_bench.api` when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zsad_bench.api import (
        Predictions,
        evaluate,
        list_datasets,
        list_methods,
        load_backbone,
        load_dataset,
        load_method,
        predict,
        save_method,
    )

__all__ = [
    "Predictions",
    "evaluate",
    "list_datasets",
    "list_methods",
    "load_backbone",
    "load_dataset",
    "load_method",
    "predict",
    "save_method",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from zsad_bench import api

        return getattr(api, name)
    raise AttributeError(f"module 'zsad_bench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
