# pytest tests/backbones/test_file_kind.py
"""What a weight file is, from its first bytes and its table of contents alone."""

from __future__ import annotations

import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from zsad_bench.backbones.file_kind import TITLES, file_kind, safetensors_notes


def written(folder, kind):
    path = folder / "weights.bin"  # the name says nothing
    match kind:
        case "safetensors":
            save_file({"a": torch.zeros(2)}, path, metadata={"activation": "gelu"})
        case "torch":
            torch.save({"a": torch.zeros(2)}, path)
        case "legacy":
            torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
        case "pickle":
            path.write_bytes(pickle.dumps({"a": 1}))
        case "torchscript":
            with zipfile.ZipFile(path, "w") as archive:
                for name in ("m/data.pkl", "m/constants.pkl", "m/code/__torch__/model.py"):
                    archive.writestr(name, "")
        case "archive":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("readme.txt", "")
        case "page":
            path.write_bytes(b"<html>404</html>")
        case "half":
            save_file({"a": torch.zeros(2)}, path)
            path.write_bytes(path.read_bytes()[:20])
        case "half an archive":
            torch.save({"a": torch.zeros(2)}, path)
            path.write_bytes(path.read_bytes()[:200])
        case "empty":
            path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("safetensors", "safetensors"), ("torch", "torch"), ("legacy", "pickle"), ("pickle", "pickle"),
        ("torchscript", "torchscript"), ("archive", "other"), ("page", "other"), ("half", "other"),
        ("half an archive", "other"), ("empty", "other"),
    ],
)  # fmt: skip
def test_kinds(tmp_path, monkeypatch, kind, found):
    path = written(tmp_path, kind)
    for loads in ("load", "loads"):
        monkeypatch.setattr(pickle, loads, lambda *_: pytest.fail("something was unpickled"))
    assert file_kind(path) == found
    assert found in TITLES


def test_notes(tmp_path):
    assert safetensors_notes(written(tmp_path, "safetensors")) == {"activation": "gelu"}
    for kind in ("torch", "half", "empty", "page"):
        assert safetensors_notes(written(tmp_path, kind)) == {}
