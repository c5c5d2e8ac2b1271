# pytest tests/commands/test_weights.py
"""Weights through the front door: listed, fetched, converted and checked, and what must not be opened is not."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.backbones.miniatures import as_transformers
from tests.miniature import MINI
from zsad_bench.backbones import golden
from zsad_bench.backbones.file_kind import safetensors_notes
from zsad_bench.backbones.load import load_backbone
from zsad_bench.backbones.sandboxed_read import can_lock
from zsad_bench.errors import BackboneError

CONVERT = ("weights", "convert")


@pytest.fixture(autouse=True)
def named(monkeypatch, tmp_path) -> None:
    """open_clip knows the miniature by two names, and neither the hub's cache nor OpenAI's is the user's own."""
    from open_clip.factory import _MODEL_CONFIGS

    monkeypatch.setitem(_MODEL_CONFIGS, "mini-quickgelu", MINI)
    monkeypatch.setitem(_MODEL_CONFIGS, "mini", MINI | {"quick_gelu": False})
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def state(mini_clip):
    return {name: tensor.detach().clone().contiguous() for name, tensor in mini_clip.state_dict().items()}


class AsPublished(torch.nn.Module):
    """A CLIP's parameters under their names, with the sizes that OpenAI's archives carry beside them."""

    def __init__(self, model) -> None:
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        for name, parameter in model.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, size in (("input_resolution", 32), ("context_length", 77), ("vocab_size", 49408)):
            self.register_buffer(name, torch.tensor(size))

    def forward(self, x):
        return x * self.logit_scale


@pytest.fixture(scope="module")
def archive(mini_clip, tmp_path_factory) -> Path:
    """The miniature as OpenAI publishes its models: traced, with matrices in half precision."""
    model = AsPublished(copy.deepcopy(mini_clip))
    for name, parameter in model.named_parameters():
        if is_half(name, parameter):
            parameter.data = parameter.data.half()
    path = tmp_path_factory.mktemp("openai") / "mini.pt"
    torch.jit.trace(model, (torch.zeros(1),), check_trace=False).save(str(path))
    return path


def is_half(name: str, tensor: torch.Tensor) -> bool:
    return tensor.ndim >= 2 and "embedding" not in name


def listed(said) -> dict[str, dict]:
    assert said.code == 0, said.err
    return {one.get("title", one.get("file")): one for one in map(json.loads, said.out.splitlines())}


# --- list -------------------------------------------------------------------------------------------------------------


def test_what_suites_and_families_need(zsad):
    found = listed(zsad("weights", "list", "--json"))
    paper = found["ViT-L-14-336-quickgelu@openai"]
    assert (paper["needed_by"], paper["found"], paper["paths"], paper["licence"]) == (["paper"], "no", [], "MIT")
    assert paper["sha256"].startswith("3035c92b3509")
    assert paper["sha256_is"] == "of ViT-L-14-336px.pt, as published"
    assert paper["size"] == 4 * 427_944_193
    tiny = found["tiny"]
    assert (tiny["needed_by"], tiny["found"], tiny["size_is"]) == (["demo"], "package", "of the file")
    assert tiny["size"] == Path(tiny["paths"][0]).stat().st_size
    assert found["blip-itm-base-coco"]["needed_by"] == ["paper: blip"]
    assert {"ViT-B-16-plus-240@laion400m_e31", "vit_large_patch14_dinov2@lvd142m"} <= found.keys()
    assert found["ViT-B-16-plus-240@laion400m_e31"]["sha256_is"].endswith("first digits")


def test_the_list_says_where_weights_were_found(zsad, tmp_path):
    (tmp_path / ".cache" / "clip").mkdir(parents=True)
    (tmp_path / ".cache" / "clip" / "ViT-B-32.pt").write_bytes(b"not opened")
    blob = tmp_path / "hub" / "models--timm--vit_base_patch16_clip_224.openai"
    for path, text in (("refs/main", "abc"), (f"blobs/{'5' * 64}", "12345")):
        (blob / path).parent.mkdir(parents=True, exist_ok=True)
        (blob / path).write_text(text)
    link = blob / "snapshots" / "abc" / "open_clip_model.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob / "blobs" / ("5" * 64))
    found = listed(zsad("weights", "list", "--json"))
    assert found["ViT-B-32-quickgelu@openai"]["found"] == "convertible"
    cached = found["ViT-B-16-quickgelu@openai"]
    assert (cached["found"], cached["size"], cached["sha256"]) == ("cache", 5, "5" * 64)
    assert cached["sha256_is"] == "of the file, as the hub says"
    said = zsad("weights", "list")
    assert said.code == 0
    assert "convert it" in said.out
    assert str(link) in said.out
    assert "paper" in next(line for line in said.out.splitlines() if line.startswith("ViT-L-14-336-quickgelu "))


def test_all_tags_of_one_and_files_of_a_folder(zsad, refused, archive, tmp_path):
    found = listed(zsad("weights", "list", "ViT-B-16-quickgelu", "--json"))
    assert next(iter(found)) == "ViT-B-16-quickgelu@openai", "the family's choice comes first"
    assert len(found) > 1
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "ViT-L-14-336px.pt").write_bytes(archive.read_bytes())
    (tmp_path / "files" / "notes.txt").write_text("no weights")
    found = listed(zsad("weights", "list", "tiny", "--json", "--look", "files"))
    assert [one["says"] for name, one in found.items() if name != "tiny"] == [
        f"a TorchScript archive, {archive.stat().st_size / 1e6:.1f} MB; called like OpenAI CLIP ViT-L/14@336px"
    ]
    assert "--look nowhere: no such folder" in refused(2, "weights", "list", "--look", "nowhere")
    assert "unknown backbone 'ViT-L-14-335-quickgelu'" in refused(2, "weights", "list", "ViT-L-14-335-quickgelu")


# --- fetch ------------------------------------------------------------------------------------------------------------


def test_fetch_without_a_network_is_one_line(zsad, refused):
    said = zsad("weights", "fetch", "ViT-L-14-336-quickgelu")
    assert said.code == 1
    (line,) = said.err.splitlines()
    assert "ViT-L-14-336-quickgelu@openai is not on this machine and the model hub is switched off" in line
    assert "open_clip_model.safetensors of timm/vit_large_patch14_clip_336.openai" in line
    assert "comes with the package" in zsad("weights", "fetch", "tiny").out
    assert "did you mean openai?" in refused(2, "weights", "fetch", "ViT-L-14-336-quickgelu@openia")
    assert "name one: ViT-B-16-plus-240@laion400m_e31" in refused(2, "weights", "fetch", "ViT-B-16-plus-240")
    assert "has no published weights" in refused(1, "weights", "fetch", "local-dir:folder")


def test_fetch_says_what_was_checked(zsad, monkeypatch, tmp_path):
    from zsad_bench.backbones import hub

    path = tmp_path / "hub" / "blobs" / ("0" * 64)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    monkeypatch.setattr(hub, "cached_weights", lambda *_: path)
    monkeypatch.setattr(hub, "fetch_weights", lambda *_: path)
    said = zsad("weights", "fetch", "vit_small_patch14_dinov2")
    assert said.code == 1
    assert "is damaged" in said.err
    good = path.with_name(hashlib.sha256(b"weights").hexdigest())
    path.rename(good)
    monkeypatch.setattr(hub, "cached_weights", lambda *_: good)
    monkeypatch.setattr(hub, "fetch_weights", lambda *_: good)
    said = zsad("weights", "fetch", "vit_small_patch14_dinov2")
    assert said.code == 0, said.err
    assert f"was in the cache: 7 bytes, sha256 {good.name} (as the hub says)" in said.out


# --- convert ----------------------------------------------------------------------------------------------------------


def assert_is_mini(path: Path, state, half: bool = False) -> None:
    written = load_file(path)
    assert written.keys() == state.keys()
    for name, tensor in written.items():
        expected = state[name].half().float() if half and is_half(name, state[name]) else state[name]
        assert torch.equal(tensor, expected), name
        assert tensor.dtype is torch.float32


@pytest.mark.slow
def test_an_archive_of_openais_needs_trust_and_becomes_ours(zsad, archive, state, tmp_path):
    said = zsad(*CONVERT, str(archive), "--out", "mini.safetensors")
    assert said.code == 2
    assert "TorchScript archive, which may run code when it is opened; if you trust it, add --trust" in said.err
    assert not (tmp_path / "mini.safetensors").exists()
    said = zsad(*CONVERT, str(archive), "--out", "mini.safetensors", "--trust")
    assert said.code == 0, said.err
    assert_is_mini(tmp_path / "mini.safetensors", state, half=True)
    for part in ("tensors of half precision are written as float32, with the same values",
                 "left out, since they are not parameters: ", "activation: QuickGELU (only OpenAI's archives",
                 "fits: mini-quickgelu; --backbone mini-quickgelu --weights mini.safetensors",
                 "without network and without writing" if can_lock() else "NOT shut off"):  # fmt: skip
        assert part in said.out, said.out
    notes = safetensors_notes(tmp_path / "mini.safetensors")
    assert (notes["activation"], notes["layout"], notes["converted_from"]) == ("quickgelu", "open_clip", "mini.pt")
    backbone = load_backbone("mini-quickgelu", tmp_path / "mini.safetensors")
    assert f"weights {backbone.weights_hash[:12]}" in said.out, "the hash that rows will have"
    with pytest.raises(BackboneError, match="trained with QuickGELU, but mini computes plain GELU; use mini-q"):
        load_backbone("mini", tmp_path / "mini.safetensors")


@pytest.mark.parametrize("answer", [pytest.param("yes", marks=pytest.mark.slow), "no", ""])
def test_a_person_is_asked_at_a_terminal(zsad, archive, tmp_path, monkeypatch, answer):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n" if answer else ""))
    said = zsad(*CONVERT, str(archive), "--out", "mini.safetensors")
    assert "Do you trust this file? Type yes to open it:" in said.err
    assert said.code == (0 if answer == "yes" else 2)
    assert (tmp_path / "mini.safetensors").exists() == (answer == "yes")


@pytest.mark.parametrize("suffix", [pytest.param(".bin", marks=pytest.mark.slow), ".safetensors"])
def test_files_of_the_transformers_library(zsad, state, tmp_path, suffix):
    theirs = {name: tensor.contiguous() for name, tensor in as_transformers(state).items()}
    path = tmp_path / f"model{suffix}"
    save_file(theirs, path) if suffix == ".safetensors" else torch.save(theirs, path)
    said = zsad(*CONVERT, path.name, "--out", "ours.safetensors")
    assert said.code == 0, said.err
    assert_is_mini(tmp_path / "ours.safetensors", state)
    assert "queries, keys and values joined, projections turned" in said.out
    assert "activation: not known (there is no config.json beside the file" in said.out
    assert "fits: mini, mini-quickgelu" in said.out or "fits: mini-quickgelu, mini" in said.out
    (tmp_path / "config.json").write_text(json.dumps({"vision_config": {"hidden_act": "gelu"}, "text_config": None}))
    assert "hidden_act is gelu and quick_gelu; expected" in zsad(*CONVERT, path.name, "--out", "ours.safetensors").err
    acts = {"vision_config": {"hidden_act": "gelu"}, "text_config": {"hidden_act": "gelu"}}
    (tmp_path / "config.json").write_text(json.dumps(acts))
    said = zsad(*CONVERT, path.name, "--out", "ours.safetensors")
    assert "activation: GELU (config.json beside the file: hidden_act gelu)" in said.out
    assert "fits: mini; --backbone mini " in said.out
    with pytest.raises(BackboneError, match="trained with plain GELU, but mini-quickgelu computes QuickGELU; use mini"):
        load_backbone("mini-quickgelu", tmp_path / "ours.safetensors")


@pytest.mark.slow
def test_a_state_dict_under_prefixes(zsad, state, tmp_path):
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, "w.pt")
    said = zsad(*CONVERT, "w.pt", "--out", "ours.safetensors")
    assert said.code == 0, said.err
    assert_is_mini(tmp_path / "ours.safetensors", state)
    assert "its names began with 'state_dict.module.'" in said.out
    assert "1 values that are not tensors of numbers were left out" in said.out


class Code:
    def __reduce__(self):
        return os.mkdir, ("it_ran",)


@pytest.mark.slow
def test_code_in_a_file_is_neither_run_here_nor_without_trust(zsad, state, tmp_path):
    torch.save({"more": Code(), **state}, tmp_path / "w.pt")
    said = zsad(*CONVERT, "w.pt", "--out", "ours.safetensors")
    assert said.code == 2
    assert "w.pt asks for posix.mkdir, which is code, when it is opened; if you trust it, add --trust" in said.err
    assert not list(tmp_path.rglob("it_ran"))
    if can_lock():  # even then it makes no folder
        said = zsad(*CONVERT, "w.pt", "--out", "ours.safetensors", "--trust")
        assert said.code == 1
        assert "Operation not permitted" in said.err
    assert not list(tmp_path.rglob("it_ran"))
    assert not (tmp_path / "ours.safetensors").exists()


def test_what_cannot_be_converted(refused, tmp_path, state):
    assert "weights not found: none.pt" in refused(1, *CONVERT, "none.pt", "--out", "a.safetensors")
    save_file(state, "w.safetensors")
    assert "--out a.pt: expected a name that ends in .safeten" in refused(2, *CONVERT, "w.safetensors", "--out", "a.pt")
    assert "is the file to read" in refused(2, *CONVERT, "w.safetensors", "--out", "w.safetensors")


# --- check ------------------------------------------------------------------------------------------------------------


def checked(said) -> dict:
    return json.loads(said.out)


def test_check_of_what_comes_with_the_package(zsad):
    said = zsad("weights", "check", "tiny", "--json")
    assert said.code == 0, said.err
    found = checked(said)
    assert found["golden"].startswith("as those of tiny, recorded ")
    assert found["weights_hash"] == load_backbone("tiny").weights_hash
    assert found["problems"] == []


def test_check_records_and_compares(zsad, state, tmp_path, monkeypatch):
    save_file(state, tmp_path / "w.safetensors", metadata={"activation": "quickgelu"})
    check = ("weights", "check", "w.safetensors")
    said = zsad(*check)
    assert said.code == 0, said.err
    assert "none recorded; --record keeps these features" in said.out
    assert "quickgelu (the file's notes say so)" in said.out
    assert zsad(*check, "--record").code == 0
    assert (tmp_path / "cache" / "weights_golden.json").is_file()
    assert "as those of w.safetensors, recorded 20" in zsad(*check).out
    save_file(state, tmp_path / "w.safetensors")  # nothing says its activation
    said = zsad(*check, "--backbone", "mini")
    assert said.code == 1, "the other activation has the same hash and other features"
    assert "the same values give other features than those of w.safetensors" in said.err
    said = zsad(*check)
    assert "ASSUMED" in said.out
    save_file(state | {"logit_scale": state["logit_scale"] + 1}, tmp_path / "w.safetensors")
    said = zsad(*check, "--backbone", "mini-quickgelu", "--json")
    assert said.code == 1
    assert "its values are not those of w.safetensors" in checked(said)["problems"][0]
    assert "if they are meant, add --record" in said.err


def test_check_of_a_file_that_may_run_code_hashes_it_alone(zsad, refused, archive, tmp_path, monkeypatch):
    from zsad_bench.backbones import releases

    (tmp_path / "ViT-B-32.pt").write_bytes(archive.read_bytes())
    said = zsad("weights", "check", "ViT-B-32.pt", "--json")
    assert said.code == 1
    found = checked(said)
    assert found["release"] == "none with this hash, though it is called like OpenAI CLIP ViT-B/32"
    assert "expected 40d365715913; download it again" in said.err
    known = releases.RELEASES[3]._replace(sha256=found["sha256"])
    monkeypatch.setattr(releases, "RELEASES", (known,))
    said = zsad("weights", "check", "ViT-B-32.pt", "--json")
    assert said.code == 0, said.err
    assert checked(said)["release"].startswith("OpenAI CLIP ViT-B/32 (the sha256 is part of")
    assert checked(said)["activation"] == "quickgelu (known of OpenAI CLIP ViT-B/32)"
    assert checked(said)["opened"].startswith("no: it would run code")
    assert "--record: no: it would run code" in refused(2, "weights", "check", "ViT-B-32.pt", "--record")


@pytest.mark.slow
def test_a_converted_file_says_what_it_was(zsad, archive, tmp_path, monkeypatch):
    from zsad_bench.backbones import releases

    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(releases, "RELEASES", (releases.RELEASES[3]._replace(sha256=digest),))
    said = zsad(*CONVERT, str(archive), "--out", "ours.safetensors", "--trust")
    assert "activation: QuickGELU (known of OpenAI CLIP ViT-B/32)" in said.out
    found = checked(zsad("weights", "check", "ours.safetensors", "--json"))
    assert found["converted_from"] == f"mini.pt (sha256 {digest[:12]}, the file of OpenAI CLIP ViT-B/32)"
    with safe_open(tmp_path / "ours.safetensors", "pt") as file:
        assert file.metadata()["converted_sha256"] == digest


def test_check_names_what_is_missing_or_in_another_form(refused, zsad, tmp_path):
    line = refused(1, "weights", "check", "ViT-B-32-quickgelu")
    assert "is not on this machine; `zsad-bench weights fetch ViT-B-32-quickgelu@openai`" in line
    (tmp_path / ".cache" / "clip").mkdir(parents=True)
    (tmp_path / ".cache" / "clip" / "ViT-B-32.pt").write_bytes(b"x")
    line = refused(1, "weights", "check", "ViT-B-32-quickgelu")
    assert "here in another form" in line
    assert "weights convert" in line
    assert "weights not found" in refused(1, "weights", "check", "none.safetensors")
    for name, content in (("text.pt", b"not weights"), ("empty.pt", b""), ("lfs.safetensors", b"version https://git")):
        Path(name).write_bytes(content)
        line = refused(1, "weights", "check", name)
        assert line.endswith(f"{name}: not weights: neither safetensors nor a file of torch; download it again")
    assert "goes with a FILE" in refused(2, "weights", "check", "tiny", "--backbone", "tiny")


def test_golden_records_of_another_image_are_refused(refused, tmp_path):
    (tmp_path / "g.json").write_text(json.dumps({"rule": "image 0", "records": []}))
    assert golden.RULE == "image 1"
    assert "recorded with image 0" in refused(1, "weights", "check", "tiny", "--golden", "g.json")
