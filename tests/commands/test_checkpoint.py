# pytest tests/commands/test_checkpoint.py
"""Official files in and out through the front door, and what the rows of an imported one say."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.miniature import MINI
from tests.official import IGNORED, anomalyclip_file, faprompt_file
from zsad_bench.results import rows as store
from zsad_bench.runner import checkpoint

IMPORT = ("--method", "anomalyclip", "--backbone", "mini", "--set", "image_size=32", "--out", "ours.safetensors")


@pytest.fixture(autouse=True)
def named(monkeypatch) -> None:
    """open_clip knows the miniature's architecture by the name `mini`, as it knows ViT-L/14-336: without weights."""
    from open_clip.factory import _MODEL_CONFIGS

    monkeypatch.setitem(_MODEL_CONFIGS, "mini", MINI)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return anomalyclip_file(32, deep=2)


@pytest.fixture
def official(state, tmp_path) -> Path:
    """AnomalyCLIP's file in the widths of the miniature, wrapped as the released code saves it."""
    torch.save({"prompt_learner": state}, tmp_path / "official.pth")
    return tmp_path / "official.pth"


@pytest.fixture
def weights(mini_clip, tmp_path) -> str:
    """The miniature with its weights, as a folder that open_clip could have written."""
    folder = tmp_path / "weights" / "mini"
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MINI, "preprocess_cfg": {}}))
    save_file({k: v.contiguous() for k, v in mini_clip.state_dict().items()}, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def loaded(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["prompt_learner"]


# --- in ---------------------------------------------------------------------------------------------------------------


def test_what_an_import_records(zsad, official, tmp_path):
    said = zsad("import-checkpoint", "official.pth", *IMPORT)
    assert said.code == 0, said.err
    header = checkpoint.read_header(tmp_path / "ours.safetensors")
    sha256 = hashlib.sha256(official.read_bytes()).hexdigest()
    assert header.backbone == "mini", "without weights only the architecture is known"
    assert {key: header.config[key] for key in ("fidelity", "deep_token_cast", "n_ctx", "deep_depth", "taps")} == {
        "fidelity": "official", "deep_token_cast": "fp16", "n_ctx": 12, "deep_depth": 3, "taps": [4],
    }  # fmt: skip
    assert header.training == {
        "prior": "rich", "prior_hash": f"unknown, file {sha256[:16]}", "auxiliary": ["mvtec"], "seed": 111,
        "variant": {"checkpoint": "official", "image_size": 32}, "origin": "official", "file": "official.pth",
        "sha256": sha256,
    }  # fmt: skip
    for part in ("trained on mvtec, which is assumed", "testing on mvtec will be refused", "on which weights"):
        assert part in said.out, f"the import does not say: {part}\n{said.out}"
    assert "token_selection" not in said.out


def test_the_paper_s_backbone_needs_no_weights_at_import(zsad, tmp_path):
    torch.save(anomalyclip_file(768), tmp_path / "bare.pth")
    said = zsad("import-checkpoint", "bare.pth", "--method", "anomalyclip", "--out", "a/b.safetensors", "--auxiliary",
                "visa")  # fmt: skip
    assert said.code == 0, said.err
    header = checkpoint.read_header(tmp_path / "a" / "b.safetensors")
    assert header.backbone == "ViT-L-14-336-quickgelu"
    assert (header.config["taps"], header.config["first_vv_block"], header.config["image_size"]) == ([24], 6, 518)
    assert (header.training["prior"], header.training["auxiliary"]) == ("rich", ["visa"])
    assert "which is assumed" not in said.out


def test_faprompt_says_that_it_takes_the_first_patches(zsad, tmp_path):
    torch.save({"prompt_learner": faprompt_file(32, 48, deep=2)}, tmp_path / "official.pth")
    options = ("import-checkpoint", "official.pth", "--method", "faprompt", *IMPORT[2:])
    said = zsad(*options, "--auxiliary", "dtd")
    assert said.code == 0, said.err
    assert "token_selection=first_k" in said.out
    header = checkpoint.read_header(tmp_path / "ours.safetensors")
    assert header.config["token_selection"] == "first_k"
    assert header.training["prior"] == "limited"
    said = zsad(*options, "--set", "token_selection=topk")
    assert "token_selection" not in said.out
    header = checkpoint.read_header(tmp_path / "ours.safetensors")
    assert header.config["token_selection"] == "topk"
    assert header.training["variant"] == {
        "checkpoint": "official", "image_size": 32, "token_selection": "topk",
    }  # fmt: skip


def test_given_weights_are_recorded(zsad, official, weights, mini, tmp_path):
    said = zsad("import-checkpoint", "official.pth", *IMPORT, "--backbone", weights)
    assert said.code == 0, said.err
    assert checkpoint.read_header(tmp_path / "ours.safetensors").backbone == mini.id
    assert "on which weights" not in said.out


# --- and tested -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("official", "small")
def test_bench_tests_an_imported_checkpoint(zsad, refused, tmp_path, mini):
    # MVTec AD is not on this machine: its name has to be enough.
    assert zsad("import-checkpoint", "official.pth", *IMPORT, "--auxiliary", "demo_rich,mvtec").code == 0
    bench = ("bench", "--method", "anomalyclip", "--prior", "rich", "--suite", "demo", "--checkpoint",
             "ours.safetensors", "--targets")  # fmt: skip
    said = zsad(*bench, "demo_textures")
    assert said.code == 0, said.err
    rows = store.load(tmp_path / "leaderboards" / "demo" / "rows")
    sha256 = checkpoint.read_header(tmp_path / "ours.safetensors").training["sha256"]
    found = {(r.prior, r.prior_hash, r.auxiliary, r.seed, str(r.variant), r.weights_hash) for r in rows}
    assert found == {
        ("demo_rich+mvtec", f"unknown, file {sha256[:16]}", "demo_rich+mvtec", 111,
         "checkpoint=official, image_size=32", mini.weights_hash)
    }  # fmt: skip
    assert "AnomalyCLIP (checkpoint=official, image_size=32)" in said.out, "the table calls it like one trained here"
    assert "'demo_rich' is both auxiliary and target" in refused(1, *bench, "demo_rich")


@pytest.mark.usefixtures("official")
def test_another_architecture_is_refused(zsad, refused, small, mini, monkeypatch):
    assert zsad("import-checkpoint", "official.pth", *IMPORT, "--auxiliary", "demo_rich").code == 0
    monkeypatch.setattr(mini, "name", "other")
    line = refused(1, "bench", "--method", "anomalyclip", "--prior", "rich", "--suite", "demo", "--checkpoint",
                   "ours.safetensors", "--targets", "demo_textures")  # fmt: skip
    assert f"of backbone mini, this run has {mini.id}" in line


@pytest.mark.usefixtures("small")
def test_one_command_from_the_authors_file_to_rows(zsad, refused, official, tmp_path, mini):
    bench = ("bench", "--method", "anomalyclip", "--suite", "demo", "--backbone", "mini", "--checkpoint",
             "official.pth", "--set", "image_size=32", "--targets", "demo_textures")  # fmt: skip
    said = zsad(*bench, "--prior", "visa")
    assert said.code == 0, said.err
    sha256 = hashlib.sha256(official.read_bytes()).hexdigest()
    rows = store.load(tmp_path / "leaderboards" / "demo" / "rows")
    found = {(r.prior, r.prior_hash, r.auxiliary, r.seed, str(r.variant), r.weights_hash) for r in rows}
    assert found == {
        ("rich", f"unknown, file {sha256[:16]}", "visa", 111, "checkpoint=official, image_size=32", mini.weights_hash)
    }, "the row is that of an import and a test of it"
    kept = tmp_path / "runs" / "imported" / f"anomalyclip-{sha256[:16]}.safetensors"
    assert checkpoint.read_header(kept).training["sha256"] == sha256
    assert "testing on visa will be refused" in said.out
    line = refused(2, *bench, "--prior", "rich,limited")
    assert "--prior rich,limited: name the one that official.pth was trained under" in line
    said = zsad(*bench[:-6], "--checkpoint", "nothing.pth", "--prior", "rich", "--targets", "demo_textures")
    assert said.code == 1
    assert "official checkpoint nothing.pth: no such file" in said.err


@pytest.mark.usefixtures("official", "small")
def test_what_a_checkpoint_learned_from_is_left_out_where_no_target_is_named(zsad, refused, monkeypatch, tmp_path):
    from zsad_bench.planning import suite

    monkeypatch.setattr(suite, "found_targets", lambda _: ["demo_textures", "demo_medical"])
    bench = ("bench", "--method", "anomalyclip", "--prior", "rich", "--suite", "demo", "--checkpoint",
             "ours.safetensors")  # fmt: skip
    assert zsad("import-checkpoint", "official.pth", *IMPORT, "--auxiliary", "demo_textures,demo_medical").code == 0
    assert "it learned from every target that is found" in refused(2, *bench)
    assert zsad("import-checkpoint", "official.pth", *IMPORT, "--auxiliary", "demo_medical").code == 0
    said = zsad(*bench)
    assert said.code == 0, said.err
    assert "demo_medical: what the checkpoint learned from, and not tested" in said.out
    assert {row.target for row in store.load(tmp_path / "leaderboards" / "demo" / "rows")} == {"demo_textures"}


# --- out --------------------------------------------------------------------------------------------------------------


def test_out_again_without_weights(zsad, official, state, tmp_path):
    assert zsad("import-checkpoint", "official.pth", *IMPORT).code == 0
    said = zsad("export-checkpoint", "ours.safetensors", "--out", "back.pth")
    assert said.code == 0, said.err
    assert "token_suffix_* are left out, since the weights of mini are not here" in said.out
    back = loaded(tmp_path / "back.pth")
    assert state.keys() - back.keys() == {
        f"token_{part}_{end}" for part in ("prefix", "suffix") for end in ("pos", "neg")
    }
    for key, tensor in back.items():
        assert key.startswith(IGNORED) or torch.equal(tensor, state[key]), f"{key} came back with other values"
    assert zsad("import-checkpoint", "back.pth", *IMPORT[:-1], "again.safetensors").code == 0
    with (tmp_path / "ours.safetensors").open("rb") as a, (tmp_path / "again.safetensors").open("rb") as b:
        first, second = a.read(), b.read()
    tail = 2 * 12 * 32 * 4 + 2 * 4 * 32 * 4  # two contexts and two deep matrices in float32
    assert first[-tail:] == second[-tail:], "the tensors changed on the way out and in again"


def test_out_again_with_weights(zsad, official, state, weights, mini, tmp_path):
    assert zsad("import-checkpoint", "official.pth", *IMPORT).code == 0
    said = zsad("export-checkpoint", "ours.safetensors", "--out", "back.pth", "--backbone", weights)
    assert said.code == 0, said.err
    back = loaded(tmp_path / "back.pth")
    assert back.keys() == state.keys(), "the official loader is strict about its keys"
    assert all(back[key].shape == state[key].shape for key in state)
    ids = state["tokenized_prompts_neg"][0, 0].long()
    assert torch.equal(back["token_suffix_neg"][0, 0], mini.model.token_embedding.weight[ids[13:]])


def test_settings_that_the_official_code_does_not_share_are_told(zsad, official):
    assert zsad("import-checkpoint", "official.pth", *IMPORT, "--set", "temperature=0.1").code == 0
    said = zsad("export-checkpoint", "ours.safetensors", "--out", "back.pth")
    assert "settings of its own" in said.out
    assert "temperature=0.1" in said.out
    assert "n_ctx" not in said.out, "what the file itself says is no difference"


def test_what_cannot_go_out(zsad, refused, official, mini, tmp_path):
    from zsad_bench.planning.configure import build

    training = {"prior": "rich", "prior_hash": "a", "auxiliary": ["demo_rich"], "seed": 1, "variant": ""}
    for name, settings in (("clip", {}), ("anomalyclip", {"ensemble": "seeds"}), ("faprompt", {"prior_from": "image"})):
        method = build(name, mini, {"image_size": 32, **settings}, seed=1)
        checkpoint.save(tmp_path / f"{name}.safetensors", method, training)
    out = ("--out", "back.pth")
    line = refused(1, "export-checkpoint", "clip.safetensors", *out)
    assert "is of clip; there is an official form of " in line
    assert "anomalyclip" in line
    line = refused(1, "export-checkpoint", "anomalyclip.safetensors", *out)
    assert "anomalyclip.safetensors: ensemble: found seeds, expected none" in line
    line = refused(1, "export-checkpoint", "faprompt.safetensors", *out)
    assert "prior_from: found image, expected patches" in line
    assert "no such file" in refused(1, "export-checkpoint", "nothing.safetensors", *out)
    assert "unreadable" in refused(1, "export-checkpoint", "official.pth", *out), "the two ways were confused"
    assert not (tmp_path / "back.pth").exists(), "something was written"


@pytest.mark.usefixtures("official")
def test_a_folder_s_backbone_has_to_be_named_to_go_out(zsad, refused, weights, monkeypatch):
    from open_clip.factory import _MODEL_CONFIGS

    assert zsad("import-checkpoint", "official.pth", *IMPORT, "--backbone", weights).code == 0
    monkeypatch.delitem(_MODEL_CONFIGS, "mini")
    out = ("export-checkpoint", "ours.safetensors", "--out", "back.pth")
    assert "--backbone local-dir:FOLDER" in refused(1, *out)
    assert "of backbone mini@" in refused(1, *out, "--backbone", "tiny")
    assert zsad(*out, "--backbone", weights).code == 0


# --- bad files --------------------------------------------------------------------------------------------------------


class Code:
    """What a pickle can hold beside data: something to run when it is opened."""

    def __reduce__(self):
        return os.mkdir, ("it_ran",)


def test_code_in_a_pickle_is_not_run(refused, tmp_path):
    torch.save({"prompt_learner": Code()}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Code(), protocol=2))
    (tmp_path / "modern.pth").write_bytes(pickle.dumps(Code(), protocol=5))
    for name in ("zip", "plain", "modern"):
        line = refused(1, "import-checkpoint", f"{name}.pth", *IMPORT)
        assert f"official checkpoint {name}.pth: " in line
        assert "never run" in line, f"{name}: {line}"
    assert not (tmp_path / "it_ran").exists(), "code in a checkpoint was executed"


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, 0.99])
def test_truncated(refused, official, kept):
    content = official.read_bytes()
    official.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    assert "that are not a torch file, or a truncated one" in refused(1, "import-checkpoint", "official.pth", *IMPORT)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "found no tensors but list; expected ctx_pos, under any prefix"),
        ({}, "found nothing; expected ctx_pos"),
        ({"epoch": 3, "loss": 0.1}, "found no tensors but epoch, loss; expected"),
        ({"prompt_learner": {1: torch.zeros(2)}}, "found prompt_learner.1; expected ctx_pos"),
        ({"weight": torch.zeros(2)}, "found weight; expected ctx_pos, under any prefix"),
    ],
)
def test_something_else_altogether(refused, tmp_path, content, said):
    torch.save(content, tmp_path / "official.pth")
    line = refused(1, "import-checkpoint", "official.pth", *IMPORT)
    assert line.startswith(f"zsad-bench: official checkpoint official.pth: {said}"), line


def test_text_and_safetensors_are_no_torch_files(refused, tmp_path):
    (tmp_path / "notes.pth").write_text("these are not the tensors you are looking for")
    save_file({"ctx_pos": torch.zeros(2)}, tmp_path / "safe.pth")
    for name in ("notes.pth", "safe.pth"):
        assert "not a torch file" in refused(1, "import-checkpoint", name, *IMPORT)
    assert "no such file" in refused(1, "import-checkpoint", "nothing.pth", *IMPORT)
    assert "no such file" in refused(1, "import-checkpoint", ".", *IMPORT)


def test_of_the_other_method_or_another_backbone(refused, official, tmp_path):
    line = refused(1, "import-checkpoint", "official.pth", "--method", "faprompt", *IMPORT[2:])
    assert "it is of AnomalyCLIP, use --method anomalyclip" in line
    line = refused(1, "import-checkpoint", "official.pth", *IMPORT, "--backbone", "ViT-L-14-336-quickgelu")
    assert "ctx_pos: found (1, 1, 12, 32), expected (1, 1, n_ctx, 768) on ViT-L-14-336-quickgelu" in line
    assert not (tmp_path / "ours.safetensors").exists()


@pytest.mark.usefixtures("official")
@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (("--method", "anomaly-clip"), "unknown official method 'anomaly-clip'; did you mean anomalyclip"),
        (("--method", "clip"), "--method clip: there is no official form of it; there is one of "),
        (("--auxiliary", "mvtce"), "unknown dataset 'mvtce'; did you mean mvtec"),
        (("--auxiliary", ","), "--auxiliary: expected one or more names"),
        (("--backbone", "minni"), "unknown backbone 'minni'; did you mean mini"),
        (("--set", "n_ctx=3"), "--set n_ctx: the file's own shapes say n_ctx=12"),
        (("--set", "ensemble=seeds"), "with it anomalyclip has other parameters than the file"),
        (("--set", "warp=3"), "unknown option of anomalyclip 'warp'"),
        (("--set", "image_size=33"), "image size 33x33: mini needs multiples of 8"),
        (("--out", "ours.pth"), "--out ours.pth: expected a name that ends in .safetensors"),
        (("--uot", "x"), "unknown option '--uot'; did you mean --out"),
    ],
)
def test_wrong_usage(refused, extra, said):
    assert said in refused(2, "import-checkpoint", "official.pth", *IMPORT, *extra)


def test_what_has_to_be_given(refused):
    assert "method" in refused(2, "import-checkpoint", "official.pth")
    assert "--out ours.safetensors: expected a name that ends in .pth" in refused(
        2, "export-checkpoint", "ours.safetensors", "--out", "ours.safetensors"
    )
