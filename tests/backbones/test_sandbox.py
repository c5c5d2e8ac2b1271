# pytest tests/backbones/test_sandbox.py
"""Files that may run code: never in this process, never untrusted, and trusted ones can do no more than hand tensors
back."""

from __future__ import annotations

import os
import pickle
import socket

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


def test_code_is_not_run_and_is_named(tmp_path):
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"a": Call(os.mkdir, str(tmp_path / "it_ran"))}))
    with pytest.raises(AsksForCode, match=r"w\.pt asks for posix\.mkdir, which is code") as caught:
        read_sandboxed(tmp_path / "w.pt", "pickle")
    assert caught.value.what == "posix.mkdir"
    with pytest.raises(AsksForCode, match="may run code when it is opened"):
        read_sandboxed(tmp_path / "w.pt", "torchscript")
    assert not (tmp_path / "it_ran").exists()


@locked
@pytest.mark.slow
def test_what_trusted_code_cannot_do(tmp_path):
    target = tmp_path / "it_ran"
    tries = {
        "make a folder": Call(os.mkdir, str(target)),
        "write a file": Call(eval, f"open({str(target)!r}, 'w')"),
        "run a program": Call(os.system, f"touch {target}"),
        "run another": Call(eval, f"__import__('subprocess').run(['touch', {str(target)!r}])"),
        "start a process": Call(os.fork),
        "remove a file": Call(os.remove, str(saved(tmp_path, {}, "other.pt"))),
        "open a connection": Call(socket.socket),
        "end this process": Call(os.kill, os.getpid(), 15),
    }
    for what, call in tries.items():
        path = saved(tmp_path, {"a": call, "b": torch.ones(2)})
        if what == "run a program":  # os.system reports in its result, and raises nothing
            assert torch.equal(read_sandboxed(path, "torch", trusted=True).state["b"], torch.ones(2))
        else:
            with pytest.raises(BackboneError, match="Operation not permitted"):
                read_sandboxed(path, "torch", trusted=True)
        assert not target.exists(), f"code in a file could {what}"
        assert (tmp_path / "other.pt").exists()


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
