"""What measured: the processor, and how busy all of the machine was."""

from __future__ import annotations

import os
from pathlib import Path

from zsad_bench.process import processor as processor


def busy_seconds() -> float:
    """Seconds that all cores have worked so far, for whom ever (stolen ones too); 0 where the machine does not say."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
