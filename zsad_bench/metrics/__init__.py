"""Metrics of anomaly scores and maps: pure functions in `functional`, thin torchmetrics classes around them.

Free of torch at import; take what is needed from the submodules (`metrics.category`, `metrics.functional.pixel`…).
All metrics are listed in `zsad_bench/metric_keys.py`.
"""

from __future__ import annotations

from zsad_bench import metric_keys

METRIC_VERSION = "1"  # part of a row's key: raise it with any change that moves a number

IMAGE_KEYS = metric_keys.keys("image")
SAMPLE_KEYS = metric_keys.keys("sample")
PIXEL_KEYS = metric_keys.keys("pixel")
