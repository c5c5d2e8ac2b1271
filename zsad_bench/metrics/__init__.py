"""Metrics of anomaly scores and maps: pure functions in `functional`, thin torchmetrics classes around them.

Free of torch at import; take what is needed from the submodules (`metrics.category`, `metrics.functional.pixel`…).
"""

from __future__ import annotations

METRIC_VERSION = "1"  # part of a row's key: raise it with any change that moves a number

IMAGE_KEYS = ("image_auroc", "image_ap", "image_f1max")
RANKED_KEYS = ("pixel_auroc", "pixel_ap", "pixel_f1max", "pixel_aupro", "pixel_aupro_legacy200")  # from one sort
PIXEL_KEYS = (*RANKED_KEYS, "pixel_rcpro", "pixel_aupimo")
