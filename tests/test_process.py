# pytest tests/test_process.py
"""How threads wait and how memory is kept: what the program sets takes effect, and what the user set stays."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from zsad_bench import process
from zsad_bench.sweep import worker

ROOT = Path(__file__).resolve().parents[1]
OURS = (*process.WAITING, process.WAIT_POLICY, *process.MEMORY, process.TUNABLES)
ALLOCATED = """
import ctypes
from zsad_bench import process
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
{call}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.mallinfo2.restype = ctypes.c_void_p, [ctypes.c_size_t], Info
before = libc.mallinfo2().hblks
libc.malloc(8 << 20)
print(libc.mallinfo2().hblks - before)
"""
glibc_only = pytest.mark.skipif(not process.is_glibc(), reason="the C library is not glibc")


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in OURS}
    given = {**clean, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, timeout=120)


def test_what_the_user_set_is_not_replaced():
    assert process.lacking({}).items() >= process.WAITING.items()
    assert "GOMP_SPINCOUNT" not in process.lacking({"GOMP_SPINCOUNT": "0"})
    assert "KMP_BLOCKTIME" in process.lacking({"GOMP_SPINCOUNT": "0"}), "each runtime has its own"
    assert not process.lacking({"OMP_WAIT_POLICY": "active"}).keys() & process.WAITING.keys()
    assert process.lacking(process.WAITING | process.MEMORY) == {}


def test_memory_is_only_spoken_of_to_glibc(monkeypatch):
    monkeypatch.setattr(process, "is_glibc", lambda: True)
    assert process.lacking({}).items() >= process.MEMORY.items()
    tuned = process.lacking({"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=65536"})
    assert "MALLOC_MMAP_THRESHOLD_" not in tuned
    assert "MALLOC_TRIM_THRESHOLD_" in tuned
    monkeypatch.setattr(process, "is_glibc", lambda: False)
    assert not process.lacking({}).keys() & process.MEMORY.keys()


@glibc_only
def test_a_large_block_stays_with_the_process_that_prepared():
    assert run(ALLOCATED.format(call="")).stdout == "1\n", "a mapping of its own, as glibc has it"
    assert run(ALLOCATED.format(call="process.prepare()")).stdout == "0\n"
    kept = run(ALLOCATED.format(call="process.prepare()"), MALLOC_MMAP_THRESHOLD_="65536")
    assert kept.stdout == "1\n", "the user's threshold was replaced"


def test_the_runtime_of_torch_takes_the_spins():
    torch = importlib.util.find_spec("torch")
    assert torch is not None
    libraries = [file for at in torch.submodule_search_locations or () for file in Path(at, "lib").glob("libgomp*.so*")]
    if not libraries:
        pytest.skip("this PyTorch does not come with libgomp")
    code = f"from zsad_bench import process; process.prepare(); import ctypes; ctypes.CDLL({str(libraries[0])!r})"
    assert "GOMP_SPINCOUNT = '10000'" in run(code, OMP_DISPLAY_ENV="verbose").stderr
    assert "GOMP_SPINCOUNT = '7'" in run(code, OMP_DISPLAY_ENV="verbose", GOMP_SPINCOUNT="7").stderr
    assert "GOMP_SPINCOUNT = '0'" in run(code, OMP_DISPLAY_ENV="verbose", OMP_WAIT_POLICY="passive").stderr


def test_the_program_prepares_and_the_package_does_not():
    shown = "import os; print(os.environ.get('GOMP_SPINCOUNT'))"
    assert run(f"import zsad_bench; from zsad_bench import cli; {shown}").stdout == "None\n"
    program = "import sys; sys.argv = ['zsad-bench', 'ls', '--help']; from zsad_bench import cli; cli.main()"
    assert run(f"{program}; {shown}").stdout.splitlines()[-1] == "10000"


def test_workers_get_the_settings_of_their_sweep(monkeypatch):
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    assert worker.environment(1)["GOMP_SPINCOUNT"] == "10000", "also where a sweep is driven from Python"
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    there = worker.environment(1)
    assert there["OMP_WAIT_POLICY"] == "passive"
    assert "GOMP_SPINCOUNT" not in there


def test_doctor_says_who_set_what(monkeypatch):
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(process, "_set", {})
    monkeypatch.setenv("KMP_BLOCKTIME", "0")
    process.prepare()
    said = {one.name: (one.value, one.by) for one in process.settings()}
    assert said["GOMP_SPINCOUNT"] == ("10000", "set by zsad-bench")
    assert said["KMP_BLOCKTIME"] == ("0", "from the environment")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    said = {one.name: (one.value, one.by) for one in process.settings()}
    assert said["GOMP_SPINCOUNT"] == ("-", "not set: OMP_WAIT_POLICY=active decides")


def test_free_memory(tmp_path):
    group, machine = tmp_path / "group", tmp_path / "meminfo"
    group.mkdir()
    machine.write_text("MemTotal: 4000 kB\nMemAvailable: 1000 kB\n")
    assert process._free_on_machine(machine) == 1_024_000
    assert process._free_on_machine(tmp_path / "none") is None
    (group / "memory.current").write_text("700\n")
    (group / "memory.stat").write_text("anon 100\ninactive_file 200\n")
    for limit, free in (("max", None), ("1000", 500), ("400", 0)):
        (group / "memory.max").write_text(f"{limit}\n")
        assert process._free_in_group(group) == free
    assert process._free_in_group(tmp_path) is None
    assert process.free_memory() > 10**6


def test_the_processor_has_a_name_everywhere(monkeypatch):
    process.processor.cache_clear()
    info = Path("/proc/cpuinfo")
    named = info.is_file() and "model name" in info.read_text()
    assert process.processor() in (info.read_text() if named else platform.machine())
    process.processor.cache_clear()

    def unreadable(self, *args, **kwargs):
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", unreadable)
        assert process.processor() == platform.machine()
    process.processor.cache_clear()
