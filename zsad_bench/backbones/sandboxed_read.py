"""Reads tensors of a file that may run code, in a process of its own; `sandbox.py` starts it.

Runs as a script without the package: `python -I -S sandboxed_read.py TASK`, where TASK is JSON. Limits are set first,
then torch is imported, then the process is locked (Linux on x86-64 and 64-bit ARM: no sockets, no other programs or
processes, nothing opened for writing, renamed or removed), and only then the file is opened. What comes back is
tensors, written to an open file descriptor as safetensors, and one line of JSON.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

# Numbers of system calls: of x86-64, then of 64-bit ARM; None where there is no such call.
_CALLS: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "sendto": (44, 206), "bind": (49, 200),
    "listen": (50, 201), "socketpair": (53, 199), "fork": (57, None), "vfork": (58, None), "execve": (59, 221),
    "kill": (62, 129), "truncate": (76, 45), "rename": (82, None), "mkdir": (83, None), "rmdir": (84, None),
    "creat": (85, None), "link": (86, None), "unlink": (87, None), "symlink": (88, None), "chmod": (90, None),
    "fchmod": (91, 52), "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "ptrace": (101, 117),
    "rt_sigqueueinfo": (129, 138), "utime": (132, None), "mknod": (133, None), "mount": (165, 40), "umount2": (166, 39),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "tkill": (200, 130), "utimes": (235, None),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "mkdirat": (258, 34), "mknodat": (259, 33),
    "fchownat": (260, 54), "futimesat": (261, None), "unlinkat": (263, 35), "renameat": (264, 38), "linkat": (265, 37),
    "symlinkat": (266, 36), "fchmodat": (268, 53), "unshare": (272, 97), "utimensat": (280, 88),
    "rt_tgsigqueueinfo": (297, 240), "perf_event_open": (298, 241), "setns": (308, 268),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "finit_module": (313, 273),
    "renameat2": (316, 276), "memfd_create": (319, 279), "bpf": (321, 280), "execveat": (322, 281),
    "userfaultfd": (323, 282), "pidfd_send_signal": (424, 424), "io_uring_setup": (425, 425),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "fchmodat2": (452, 452),
}  # fmt: skip
_MISSING = {"clone3": (435, 435), "openat2": (437, 437)}  # answered as unknown, so that the older calls are made
_CLONE, _OPEN, _OPENAT, _SECCOMP = (56, 220), (2, None), (257, 56), (317, 277)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_CLONE_THREAD = 0x10000
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_OTHER_NUMBERS = 0x40000000  # of x86-64's third set of calls, which nothing here makes
_NAMES = {
    "torch.float64": "F64", "torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16",
    "torch.int64": "I64", "torch.int32": "I32", "torch.int16": "I16", "torch.int8": "I8", "torch.uint8": "U8",
    "torch.bool": "BOOL",
}  # fmt: skip
_DEEPEST = 16


def can_lock() -> bool:
    """Whether `lock` knows this machine's system calls."""
    return sys.platform == "linux" and platform.machine() in _ARCHITECTURES and sys.maxsize > 2**32


# --- limits and the lock ----------------------------------------------------------------------------------------------


def limit(memory: int, written: int, seconds: int) -> None:
    """Bounds what this process may take: bytes of memory, bytes of a file, and seconds of CPU."""
    import resource

    for what, most in (
        (resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, written), (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 256),
    ):  # fmt: skip
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))


def lock() -> None:
    """From now on, for all threads and for good, the system refuses the calls above.

    Raises:
        OSError: the system does not lock processes.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    which = _ARCHITECTURES[platform.machine()][0]
    content = b"".join(_program())
    program = _Program(len(content) // 8, ctypes.cast(ctypes.create_string_buffer(content), ctypes.c_void_p))
    no_new_privileges, filter_mode, all_threads = 38, 1, 1
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.syscall(
        _SECCOMP[which], filter_mode, all_threads, ctypes.byref(program)
    ):
        raise OSError(ctypes.get_errno(), "the system does not lock processes")


class _Program(ctypes.Structure):
    """What the kernel takes as a filter: how many instructions of 8 bytes, and where they are."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def _program() -> Iterator[bytes]:
    """The filter's instructions. It sees the number of a call at byte 0, the architecture at 4, arguments from 16."""
    which, architecture = _ARCHITECTURES[platform.machine()]
    load, equal, at_least, any_bit, back = 0x20, 0x15, 0x35, 0x45, 0x06
    refused, unknown, allowed, killed = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS, 0x7FFF0000, 0x80000000

    def instruction(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return code.to_bytes(2, sys.byteorder) + bytes((if_true, if_false)) + k.to_bytes(4, sys.byteorder)

    yield from (instruction(load, 4), instruction(equal, architecture, 1), instruction(back, killed))
    yield instruction(load, 0)
    if which == 0:
        yield from (instruction(at_least, _OTHER_NUMBERS, 0, 1), instruction(back, refused))
    for calls, answer in ((_CALLS, refused), (_MISSING, unknown)):
        for numbers in calls.values():
            if (number := numbers[which]) is not None:
                yield from (instruction(equal, number, 0, 1), instruction(back, answer))
    for numbers, argument, bits, if_set in (
        (_CLONE, 0, _CLONE_THREAD, allowed), (_OPEN, 1, _WRITES, refused), (_OPENAT, 2, _WRITES, refused),
    ):  # fmt: skip
        if (number := numbers[which]) is None:
            continue
        if_clear = refused if if_set == allowed else allowed
        yield instruction(equal, number, 0, 4)
        yield from (instruction(load, 16 + 8 * argument), instruction(any_bit, bits, 0, 1))
        yield from (instruction(back, if_set), instruction(back, if_clear))
    yield instruction(back, allowed)


# --- reading ----------------------------------------------------------------------------------------------------------


def read(kind: str, file: BinaryIO, trusted: bool) -> tuple[dict[str, Any], int]:
    """Tensors by name, dots between the dictionaries around them; and how many other values there were.

    kind: "torchscript" or a pickle. trusted: a pickle may run code.
    """
    import torch

    if kind == "torchscript":
        loaded: Any = torch.jit.load(file, map_location="cpu").state_dict()
    else:
        loaded = torch.load(file, map_location="cpu", weights_only=not trusted)
    if isinstance(loaded, torch.nn.Module):
        loaded = loaded.state_dict()
    tensors: dict[str, Any] = {}
    others = 0
    for name, value in _leaves(loaded, "", 0):
        if isinstance(value, torch.Tensor) and str(value.dtype) in _NAMES and name not in tensors:
            tensors[name] = value.detach().to("cpu").contiguous()
        else:
            others += 1
    return tensors, others


def _leaves(value: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping) or depth > _DEEPEST:
        yield name, value
        return
    for key, inner in value.items():
        yield from _leaves(inner, f"{name}.{key}" if name else str(key), depth + 1)


def write(tensors: Mapping[str, Any], file: BinaryIO, notes: Mapping[str, str] | None = None) -> None:
    """The tensors in their own types as safetensors, one at a time: no second copy of them all.

    tensors: contiguous, on the CPU. notes: the file's `__metadata__`.
    """
    header: dict[str, Any] = {"__metadata__": dict(notes)} if notes else {}
    at = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _NAMES[str(tensor.dtype)], "shape": list(tensor.shape), "data_offsets": [at, at + size],
        }  # fmt: skip
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for tensor in tensors.values():
        if tensor.numel():
            flat = tensor.reshape(-1)
            file.write((ctypes.c_char * (flat.numel() * flat.element_size())).from_address(flat.data_ptr()))
    file.flush()


def main() -> int:
    """Exit code 0, or 3 with the reason; the answer is a line of JSON on standard output."""
    task = json.loads(sys.argv[1])
    limit(task["memory"], task["written"], task["seconds"])
    sys.path += task["packages"]
    import torch

    torch.set_num_threads(1)
    with open(task["file"], "rb") as file, os.fdopen(task["out"], "wb") as out:  # noqa: PTH123
        if task["lock"]:
            lock()
        try:
            tensors, others = read(task["kind"], file, task["trusted"])
            write(tensors, out)
        except BaseException as error:  # whatever the code in a file raises, exits included
            reason = " ".join(str(error).split())
            return _answer(3, error=f"{type(error).__name__}: {reason}")
    return _answer(0, tensors=len(tensors), others=others)


def _answer(code: int, **said: Any) -> int:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    raise SystemExit(main())
