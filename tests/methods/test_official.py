# pytest tests/methods/test_official.py
"""Official checkpoints become our parameters and configuration, and go back, bit for bit."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from tests.official import FILES, IGNORED, anomalyclip_file, april_gan_file, faprompt_file
from zsad_bench import registry
from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.load import architecture
from zsad_bench.errors import CheckpointError
from zsad_bench.methods._official import OfficialForm
from zsad_bench.methods._official_file import Content, find_released
from zsad_bench.methods.base import ZeroShotMethod

FORMS: dict[str, OfficialForm] = {
    name: cls.official for name, cls in registry.classes("methods").items() if cls.official is not None
}


@pytest.fixture(scope="module")
def large() -> Backbone:
    """ViT-L/14-336: the widths of the released files; no values."""
    return architecture("ViT-L-14-336-quickgelu")


def files(width: int, joint: int, deep: int) -> dict[str, dict[str, Tensor]]:
    return {
        "anomalyclip": anomalyclip_file(width, deep=deep),
        "faprompt": faprompt_file(width, joint, deep=deep),
    }


@pytest.fixture(scope="module")
def small_files() -> dict[str, dict[str, Tensor]]:
    """The files in the widths of the miniature. Shared: do not change them."""
    return files(32, 48, 2) | {"april_gan": april_gan_file(64, 48)}


def imported(make, name: str, state: Mapping[str, Tensor], backbone) -> ZeroShotMethod:
    overrides, tensors = FORMS[name].read(state, backbone)
    method = make(name, **overrides)
    FORMS[name].check(state, method)
    assert tensors.keys() == method.own_state().keys(), f"{name}: not every parameter is in the file, or not only they"
    method.load_state_dict(tensors, strict=False)
    return method


def exported(method: ZeroShotMethod) -> dict[str, Tensor]:
    return FORMS[method.registry_name()].write(method)


def found(name: str, *files: object) -> Mapping[str, Tensor]:
    return find_released(Content("file.pth", files, "0"), name, FORMS).state


def same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], but: tuple[str, ...] = ()) -> None:
    """Equal names, shapes, types and bits, apart from values of names that begin with one of `but`."""
    assert found.keys() == expected.keys(), f"names differ: {sorted(found.keys() ^ expected.keys())}"
    for key, tensor in expected.items():
        assert found[key].shape == tensor.shape, f"{key} is {tuple(found[key].shape)}, was {tuple(tensor.shape)}"
        assert found[key].dtype == tensor.dtype, f"{key} is {found[key].dtype}, was {tensor.dtype}"
        assert key.startswith(but) or torch.equal(found[key], tensor), f"{key} has other values"


def rows(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


# --- every form -------------------------------------------------------------------------------------------------------


def test_each_form_has_a_file_here():
    assert FORMS.keys() == FILES.keys(), "tests/official.py has the files of other methods than declare a form"


@pytest.mark.parametrize("name", FORMS)
def test_a_file_fills_the_method(name, mini, make):
    """Each parameter comes from the file, and each has the bits of one of its tensors, or of a row of several."""
    state = found(name, *FILES[name](mini))
    method = imported(make, name, state, mini)
    there = {row.numpy().tobytes() for tensor in state.values() for row in rows(tensor.float())}
    for key, tensor in method.own_state().items():
        assert all(row.numpy().tobytes() in there for row in rows(tensor)), f"{key} is not in the file"


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.writes])
def test_what_is_written_reads_the_same(name, mini, make):
    method = imported(make, name, found(name, *FILES[name](mini)), mini)
    state = found(name, FORMS[name].packed(exported(method)))
    same(imported(make, name, state, mini).own_state(), method.own_state())


@pytest.mark.parametrize(("name", "other"), [(a, b) for a in FORMS for b in FORMS if a != b])
def test_a_file_of_another_method(name, other, mini):
    with pytest.raises(CheckpointError, match=f"it is of {FORMS[other].title}, use --method {other}$"):
        found(name, *FILES[other](mini))


@pytest.mark.parametrize(
    ("name", "number"), [(name, i) for name, form in FORMS.items() for i in range(len(form.parts))]
)
def test_a_part_that_is_missing(name, number, mini):
    """Of a checkpoint of several parts; alone it is enough to be told from other methods' files.

    Without a dictionary of its own, a part is what has its marks.
    """
    part = FORMS[name].parts[number]
    gone = (part.wrapper,) if part.wrapper else part.marks
    rest = [{key: value for key, value in file.items() if key.partition(".")[0] not in gone}
            for file in FILES[name](mini)]  # fmt: skip
    with pytest.raises(CheckpointError, match=r"official checkpoint file\.pth: found .*; expected") as caught:
        found(name, *rest)
    assert ("give all of them" in str(caught.value)) == (len(FORMS[name].parts) > 1)


# --- what is read -----------------------------------------------------------------------------------------------------


def test_the_released_sizes_give_the_published_configuration(large):
    read = {name: FORMS[name].read(state, large) for name, state in files(768, 768, 8).items()}
    overrides, tensors = read["anomalyclip"]
    assert overrides == {"fidelity": "official", "n_ctx": 12, "deep_len": 4, "deep_depth": 9}
    assert sum(t.numel() for t in tensors.values()) == 43_008, "as many numbers as the paper's method trains"
    overrides, tensors = read["faprompt"]
    assert overrides == {
        "fidelity": "official", "token_selection": "first_k", "n_normal": 5, "n_abnormal": 2, "n_prompts": 10,
        "n_patches": 10, "deep_len": 4, "deep_depth": 9,
    }  # fmt: skip
    assert sum(t.numel() for t in tensors.values()) == 4_100_064


def test_every_size_is_inferred(mini, make):
    state = anomalyclip_file(32, n_ctx=7, deep=1, deep_len=3)
    config = imported(make, "anomalyclip", state, mini).config
    assert (config.n_ctx, config.deep_depth, config.deep_len) == (7, 2, 3)
    state = faprompt_file(32, 48, n_normal=6, n_abnormal=3, prompts=4, patches=2, deep=1)
    config = imported(make, "faprompt", state, mini).config
    assert (config.n_normal, config.n_abnormal, config.n_prompts, config.n_patches) == (6, 3, 4, 2)
    assert (config.token_selection, config.deep_depth) == ("first_k", 2)


def test_each_tensor_comes_to_its_place(small_files, mini):
    state = small_files["anomalyclip"]
    _, ours = FORMS["anomalyclip"].read(state, mini)
    assert torch.equal(ours["ctx_normal"], state["ctx_pos"][0, 0]), "normal and abnormal are swapped?"
    assert torch.equal(ours["ctx_abnormal"], state["ctx_neg"][0, 0])
    assert torch.equal(ours["deep_tokens"][1], state["compound_prompts_text.1"]), "deep tokens are out of order"
    state = small_files["faprompt"]
    _, ours = FORMS["faprompt"].read(state, mini)
    assert torch.equal(ours["ctx_abnormal"], state["ctx_neg"][0])
    assert torch.equal(ours["prior.fc1.weight"], state["patch_meta_net.linear1.weight"])
    assert torch.equal(ours["prior.fc2.bias"], state["patch_meta_net.linear2.bias"])


def test_a_file_without_deep_tokens(mini, make):
    method = imported(make, "anomalyclip", anomalyclip_file(32, deep=0), mini)
    assert method.config.deep_depth == 1
    assert not [key for key in exported(method) if key.startswith("compound")]


@pytest.mark.parametrize("name", ["anomalyclip", "faprompt"])
def test_buffers_and_projections_do_not_matter(name, small_files, mini):
    state = small_files[name]
    bare = {key: tensor for key, tensor in state.items() if not key.startswith(IGNORED)}
    assert len(bare) < len(state)
    overrides, tensors = FORMS[name].read(state, mini)
    again, same_tensors = FORMS[name].read(bare, mini)
    assert again == overrides
    same(same_tensors, tensors)


def test_linear_maps_come_to_their_places_and_no_others_are_taken_for_them(mini, make):
    state = april_gan_file(64, 48)
    method = imported(make, "april_gan", found("april_gan", {"trainable_linearlayer": state, "epoch": 3}), mini)
    for i, linear in enumerate(method.maps):
        assert torch.equal(linear.weight, state[f"fc.{i}.weight"]), f"map {i} has another's weights"
        assert torch.equal(linear.bias, state[f"fc.{i}.bias"])
    adapter = {
        "filo": {f"adapter.{key}": tensor for key, tensor in state.items()}
    }  # another method has such names, too
    with pytest.raises(CheckpointError, match=r"adapter\.fc\.0.*; expected trainable_linearlayer\.fc\.0\.weight"):
        found("april_gan", adapter)


# --- round trips ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["anomalyclip", "faprompt"])
def test_official_to_ours_and_back(name, small_files, mini, make):
    method = imported(make, name, small_files[name], mini)
    back = exported(method)
    same(back, small_files[name], but=IGNORED)
    for end, ids in zip(("pos", "neg"), method.token_ids, strict=True):
        table = mini.model.token_embedding.weight[ids]
        suffix = back[f"token_suffix_{end}"]
        assert torch.equal(back[f"token_prefix_{end}"][0, -1], table[:1]), "start of text is another row"
        assert torch.equal(suffix[0, -1], table[-suffix.shape[2] :]), f"{end}: the words behind the context are others"
    assert not any(back[key].any() for key in back if "projections" in key), "projections that were never trained"


@pytest.mark.parametrize(("name", "deep"), [("anomalyclip", 8), ("faprompt", 8)])
def test_round_trip_in_the_released_sizes(name, deep, large):
    from zsad_bench.planning.configure import configure

    state = files(768, 768, deep)[name]
    overrides, tensors = FORMS[name].read(state, large)
    method = registry.load("methods", name)(large, configure(name, overrides))
    method.load_state_dict(tensors, strict=False)
    back = exported(method)
    token_rows = {key for key in state if key.startswith(("token_prefix", "token_suffix"))}
    same(back, {key: tensor for key, tensor in state.items() if key not in token_rows}, but=IGNORED)


@pytest.mark.parametrize("name", ["anomalyclip", "faprompt"])
def test_ours_to_official_and_back_scores_the_same(name, mini, make, predict, batch):
    method = make(name, fidelity="official")
    again = imported(make, name, exported(method), mini)
    same(again.own_state(), method.own_state())
    found, expected = predict(again, batch), predict(method, batch)
    assert torch.equal(found.score, expected.score), "the imported method scores otherwise than the exported one"
    assert torch.equal(found.map, expected.map), "the imported method's maps are others than the exported one's"
    other = predict(make(name, fidelity="official", seed=4), batch)
    assert not torch.equal(other.map, expected.map), "these scores do not depend on what is learned"


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("anomalyclip", {"ensemble": "seeds", "members": 2}, "ensemble: found seeds, expected none"),
        ("faprompt", {"compound": False, "n_normal": 5, "n_abnormal": 5}, "compound: found False, expected True"),
        ("faprompt", {"prior_from": "image"}, "prior_from: found image, expected patches"),
    ],
)
def test_what_the_official_code_has_no_place_for(name, settings, said, make):
    with pytest.raises(CheckpointError, match=said):
        exported(make(name, **settings))


# --- what is refused --------------------------------------------------------------------------------------------------


def odd(state: Mapping[str, Tensor]) -> Tensor:
    changed = state["tokenized_prompts_neg"].clone()
    changed[..., 3] = 1
    return changed


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("anomalyclip", lambda s: s.pop("ctx_pos"), "ctx_pos: found nothing, expected (1, 1, n_ctx, 32)"),
        ("anomalyclip", lambda s: s.pop("ctx_neg"), "ctx_neg: found nothing, expected (1, 1, 12, 32)"),
        ("anomalyclip", lambda s: s.pop("compound_prompts_text.0"), "compound_prompts_text.0: found nothing"),
        ("anomalyclip", lambda s: s.pop("compound_prompts_text.1"), "compound_prompts_text.1: found nothing"),
        ("anomalyclip", lambda s: s.pop("tokenized_prompts_pos"), "tokenized_prompts_pos: found nothing"),
        ("anomalyclip", lambda s: s.update(more=torch.zeros(2)), "more: found (2,), expected no such key"),
        ("anomalyclip", lambda s: s.update(ctx_neg=torch.zeros(1, 1, 11, 32)),
         "ctx_neg: found (1, 1, 11, 32), expected (1, 1, 12, 32) on mini"),
        ("anomalyclip", lambda s: s.update(ctx_pos=torch.zeros(12, 32)),
         "ctx_pos: found (12, 32), expected (1, 1, n_ctx, 32) on mini"),
        ("anomalyclip", lambda s: s.update({"compound_prompts_text.1": torch.zeros(3, 32)}),
         "compound_prompts_text.1: found (3, 32), expected (4, 32) on mini"),
        ("anomalyclip", lambda s: s.update({"compound_prompts_text.2": torch.zeros(4, 32)}),
         "compound_prompts_text.2: found 3 deep matrices, expected 2 or fewer: mini has 3 text blocks"),
        ("anomalyclip", lambda s: s["ctx_pos"].fill_(float("nan")), "ctx_pos: found values that are not finite"),
        ("anomalyclip", lambda s: s.update(ctx_pos=s["ctx_pos"].long()), "ctx_pos: found torch.int64, expected float"),
        ("anomalyclip", lambda s: s.update(tokenized_prompts_neg=odd(s)), "found token 1 at (0, 0, 3), expected 343"),
        ("april_gan", lambda s: s.pop("fc.1.weight"), "fc.1.weight: found nothing, expected (48, 64)"),
        ("april_gan", lambda s: s.update({"fc.2.bias": torch.zeros(47)}),
         "fc.2.bias: found (47,), expected (48,) on mini"),
        ("april_gan", lambda s: s.update({"fc.weight": torch.zeros(2)}), "fc.weight: found (2,), expected no such key"),
        ("april_gan", lambda s: [s.pop("fc.3.weight"), s.pop("fc.3.bias")],
         "fc.2.weight: found 3 linear maps, expected 4, one for each of the blocks [1, 2, 3, 4]"),
        ("faprompt", lambda s: s.pop("patch_meta_net.linear2.bias"), "linear2.bias: found nothing, expected (32,)"),
        ("faprompt", lambda s: s.update({"patch_meta_net.linear1.weight": torch.zeros(30, 481)}),
         "linear1.weight: found (30, 481), expected (n_patches * 48 // 16, n_patches * 48) on mini"),
        ("faprompt", lambda s: s.update({"patch_meta_net.linear2.weight": torch.zeros(32, 29)}),
         "linear2.weight: found (32, 29), expected (32, 30) on mini"),
        ("faprompt", lambda s: s.update(tokenized_prompts_neg=s["tokenized_prompts_neg"][:, :9]),
         "tokenized_prompts_neg: found (1, 9, 77), expected (1, 10, 77)"),
        ("faprompt", lambda s: s.update(tokenized_prompts_neg=odd(s)), "found token 1 at (0, 0, 3), expected 333"),
    ],
)  # fmt: skip
def test_a_key_that_is_not_as_it_should_be(name, change, said, small_files, mini, make):
    state = {key: tensor.clone() for key, tensor in small_files[name].items()}
    change(state)
    with pytest.raises(CheckpointError, match=re.escape(said)) as caught:
        imported(make, name, state, mini)
    assert "\n" not in str(caught.value), f"more than one line: {caught.value}"


@pytest.mark.parametrize("name", ["anomalyclip", "faprompt"])
def test_widths_of_another_backbone(name, small_files, large):
    with pytest.raises(CheckpointError, match=r"ctx_pos: found \(1, 1, \d+, 32\), expected .* 768\) on ViT-L-14-336"):
        FORMS[name].read(small_files[name], large)
