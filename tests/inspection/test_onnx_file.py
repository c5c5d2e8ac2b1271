# pytest tests/inspection/test_onnx_file.py
"""What a graph's file says of itself, and the seal at its end, read as protobuf defines it."""

from __future__ import annotations

import hashlib

import pytest

from tests.inspection.graphs import HEADER
from zsad_bench.errors import OnnxError
from zsad_bench.inspection import onnx_file
from zsad_bench.inspection.onnx_file import Header


def test_a_header_comes_back(tmp_path):
    metadata = HEADER.metadata()
    assert all(isinstance(value, str) for value in metadata.values())
    assert Header.of(metadata, tmp_path / "it.onnx") == HEADER


@pytest.mark.parametrize("lacks", sorted(HEADER.metadata()))
def test_a_header_lacks_nothing(lacks, tmp_path):
    metadata = {key: value for key, value in HEADER.metadata().items() if key != lacks}
    with pytest.raises(OnnxError, match=f"ONNX file {tmp_path / 'it.onnx'}: its (metadata|format) is"):
        Header.of(metadata, tmp_path / "it.onnx")


def test_the_seal_is_an_entry_of_metadata():
    """By hand: field 14 of the model, in it a key (field 1) and a value (field 2), each with its length in a byte."""
    digest = hashlib.sha256(b"content").hexdigest()
    key = b"file_sha256"
    entry = bytes([1 << 3 | 2, len(key)]) + key + bytes([2 << 3 | 2, 64]) + digest.encode()
    assert onnx_file.seal(b"content") == bytes([14 << 3 | 2, len(entry)]) + entry


def test_programs_of_onnx_read_it():
    onnx = pytest.importorskip("onnx")
    model = onnx.ModelProto(ir_version=8, producer_name="us")
    onnx.helper.set_model_props(model, {"method": "clip"})
    content = model.SerializeToString()
    read = onnx.ModelProto.FromString(content + onnx_file.seal(content))
    assert (read.ir_version, read.producer_name) == (8, "us")
    found = {each.key: each.value for each in read.metadata_props}
    assert found == {"method": "clip", "file_sha256": hashlib.sha256(content).hexdigest()}


def test_a_sealed_file_is_accepted_and_any_other_is_not(tmp_path):
    path, content = tmp_path / "it.onnx", b"content" * 300_000  # more than is read at once
    path.write_bytes(content + onnx_file.seal(content))
    onnx_file.check_sealed(path)
    path.write_bytes(content + onnx_file.seal(content) + b"more")
    with pytest.raises(OnnxError, match="is not one that"):
        onnx_file.check_sealed(path)
    path.write_bytes(onnx_file.seal(b""))
    with pytest.raises(OnnxError, match="is not one that"):
        onnx_file.check_sealed(path)


def test_names_of_weights_beside_a_graph(tmp_path):
    name = onnx_file.data_name("it.onnx", "0123456789abcdef" * 4)
    assert name == "it.onnx.0123456789abcdef.data"
    for each in (name, "it.onnx.data", f"that_{name}", "it.onnx", "it.onnx.0123456789abcdeg.data"):
        (tmp_path / each).touch()
    assert [path.name for path in onnx_file.old_data(tmp_path / "it.onnx")] == [name]
