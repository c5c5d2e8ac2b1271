# pytest tests/backbones/test_sandbox.py
"""Files that may run code: never in this process, never untrusted, and trusted ones can do no more than hand tensors
back."""

from __future__ import annotations

import os
import pickle

import pytest
import torch

from zsad_bench.backbones import sandboxed_read
from zsad_bench.backbones.sandbox import AsksForCode, read_sandboxed
from zsad_bench.backbones.sandboxed_read import can_lock
from zsad_bench.errors import BackboneError

locked = pytest.mark.skipif(not can_lock(), reason="this system does not lock processes")


class Call:
    """Unpickled, it is a function called with these arguments."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def saved(folder, content, name="w.pt"):
    torch.save(content, folder / name)
    return folder / name


@pytest.mark.slow
def test_plain_tensors_of_every_type(tmp_path):
    state = {"half": torch.tensor([1.5, -2.0]).half(), "brain": torch.tensor([[3.0]]).bfloat16(),
             "turned": torch.arange(6.0).reshape(2, 3).T, "none": torch.zeros(0, 4), "whole": torch.tensor(7),
             "yes": torch.tensor([True, False])}  # fmt: skip
    path = saved(tmp_path, {"epoch": 3, "model": {"inner": state}, "z": torch.zeros(2, dtype=torch.complex64)})
    found = read_sandboxed(path, "torch")
    assert found.state.keys() == {f"model.inner.{name}" for name in state}
    for name, tensor in state.items():
        assert found.state[f"model.inner.{name}"].dtype == tensor.dtype
        assert torch.equal(found.state[f"model.inner.{name}"], tensor), name
    assert found.others == 2, "a number and a complex tensor were left out, and counted"
    assert found.locked == can_lock()


@pytest.mark.slow
def test_code_is_not_run_and_is_named(tmp_path):
    path = saved(tmp_path, {"a": Call(os.mkdir, str(tmp_path / "it_ran"))})
    with pytest.raises(AsksForCode, match=r"w\.pt asks for posix\.mkdir, which is code") as caught:
        read_sandboxed(path, "torch")
    assert caught.value.what == "posix.mkdir"
    with pytest.raises(AsksForCode, match="may run code when it is opened"):
        read_sandboxed(path, "torchscript")
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.slow
def test_a_pickle_of_any_program_is_not_run_either(tmp_path):
    path = tmp_path / "w.pt"
    for protocol in (2, 5):
        path.write_bytes(pickle.dumps({"a": Call(os.mkdir, str(tmp_path / "it_ran"))}, protocol=protocol))
        with pytest.raises(AsksForCode, match=r"w\.pt (asks for posix\.mkdir|holds more than tensors)"):
            read_sandboxed(path, "pickle")
        assert not (tmp_path / "it_ran").exists()


TRIES = """
import os, socket, subprocess, pathlib
done = []
def attempt(what, call):
    try:
        result = call()
    except OSError as error:
        assert error.errno == 1, error
    else:
        done.extend([what] if what != "system" or result == 0 else [])
attempt("mkdir", lambda: os.mkdir(TARGET))
attempt("write", lambda: open(TARGET, "w"))
attempt("append", lambda: open(OTHER, "a"))
attempt("remove", lambda: os.remove(OTHER))
attempt("rename", lambda: os.rename(OTHER, TARGET))
attempt("link", lambda: os.symlink(OTHER, TARGET))
attempt("chmod", lambda: os.chmod(OTHER, 0o600))
attempt("system", lambda: os.system("touch " + TARGET))
attempt("program", lambda: subprocess.run(["touch", TARGET]))
attempt("exec", lambda: os.execv("/bin/touch", ["touch", TARGET]))
attempt("fork", os.fork)
attempt("kill", lambda: os.kill(PARENT, 0))
attempt("socket", lambda: socket.socket())
attempt("unix socket", lambda: socket.socket(socket.AF_UNIX))
attempt("pair", socket.socketpair)
attempt("memory file", lambda: os.memfd_create("x"))
raise RuntimeError("could do: " + (" ".join(done) or "nothing") + "; read " + pathlib.Path(OTHER).read_text())
"""


@locked
@pytest.mark.slow
def test_what_trusted_code_cannot_do(tmp_path):
    other, target = tmp_path / "other.txt", tmp_path / "it_ran"
    other.write_text("its content")
    names = f"TARGET, OTHER, PARENT = {str(target)!r}, {str(other)!r}, {os.getpid()}\n"
    path = saved(tmp_path, {"a": Call(exec, names + TRIES, {})})
    with pytest.raises(BackboneError, match="RuntimeError: could do: nothing; read its content"):
        read_sandboxed(path, "torch", trusted=True)
    assert not target.exists()
    assert other.read_text() == "its content"


@pytest.mark.slow
def test_trusted_code_gives_tensors_and_has_limits(tmp_path, monkeypatch):
    made = read_sandboxed(saved(tmp_path, {"a": Call(torch.ones, 3)}), "torch", trusted=True)
    assert torch.equal(made.state["a"], torch.ones(3))
    monkeypatch.setenv("ZSAD_SECRET", "not for the child")
    seen = saved(tmp_path, {"a": Call(eval, "__import__('torch').tensor('ZSAD_SECRET' in __import__('os').environ)")})
    assert not read_sandboxed(seen, "torch", trusted=True).state["a"], "the environment came along"
    for call, said in (
        (Call(bytearray, 12 << 30), "MemoryError"),
        (Call(os._exit, 0), "its process ended with 0, by itself or at a limit"),
        (Call(eval, "print('{\"tensors\": 1, \"others\": 0}') or __import__('os')._exit(0)"), "cannot be read"),
    ):
        with pytest.raises(BackboneError, match=said):
            read_sandboxed(saved(tmp_path, {"a": call}), "torch", trusted=True)


@pytest.mark.slow
def test_a_process_that_does_not_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("zsad_bench.backbones.sandbox._WAIT", 6)
    path = saved(tmp_path, {"a": Call(eval, "__import__('time').sleep(600)")})
    with pytest.raises(BackboneError, match="its process ended with -9"):
        read_sandboxed(path, "torch", trusted=True)


def test_written_safetensors_are_read_by_the_library(tmp_path):
    from safetensors import safe_open

    state = {"a": torch.arange(5.0), "b.c": torch.zeros(2, 0), "d": torch.tensor([[1, 2]], dtype=torch.int16)}
    with (tmp_path / "w.safetensors").open("wb") as file:
        sandboxed_read.write(state, file, {"activation": "gelu"})
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert file.metadata() == {"activation": "gelu"}
        assert set(file.keys()) == set(state)
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in state.items())
