"""A script of a user's own in a process of its own, which Lightning's Trainer may start again for further ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
by_gloo = pytest.mark.skipif(
    sys.platform != "linux", reason="gloo over the loopback interface is asked for by its name"
)


def run_script(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a script in this folder ended with, which is without an error; its ranks meet on this machine alone."""
    (folder / "script.py").write_text(script, encoding="utf-8")
    env = os.environ | {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "script.py", *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=900,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done
