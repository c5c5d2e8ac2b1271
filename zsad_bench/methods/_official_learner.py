"""The released prompt learners of AnomalyCLIP and FAPrompt: what their files have in common.

Both are the prompt learner of zqhang/AnomalyCLIP (May 2025), which mala-lab/FAPrompt (July 2025, both MIT) took over: a
state dict under the one key `prompt_learner`. Beside what trains there are buffers, which follow from the prompts'
words and the backbone's token table, and projections that no forward pass uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from zsad_bench.backbones.base import Backbone
from zsad_bench.errors import CheckpointError
from zsad_bench.methods._official import Key, Method, OfficialForm, Part, numbered, renamed

DEEP = "compound_prompts_text"
PROJECTION = "compound_prompt_projections"
PROJECTION_WIDTH = 896  # what the official constructor writes down, whatever the backbone
IDS = ("tokenized_prompts_pos", "tokenized_prompts_neg")


class PromptLearnerForm(OfficialForm):
    """own: the keys that are not deep tokens, ids or buffers.

    needs: what a configuration must say to have an official form. shared: abnormal prompts begin with the normal
    context. n_abnormal: how many abnormal prompts there are.
    """

    parts = (Part(("ctx_pos", "ctx_neg"), wrapper="prompt_learner"),)
    ignored = rf"token_(prefix|suffix)_(pos|neg)|{PROJECTION}\.\d+\.(weight|bias)"
    writes = True

    own: ClassVar[tuple[Key, ...]]
    needs: ClassVar[Mapping[str, Any]] = {}
    shared: ClassVar[bool] = False
    n_abnormal: ClassVar[int | str] = 1

    def keys(self, state: Mapping[str, Tensor], backbone: Backbone) -> Sequence[Key]:
        """As many deep matrices as there are projections, too, so that a lost last one is missed."""
        n, last = numbered(state, rf"(?:{DEEP}\.|{PROJECTION}\.)(\d{{1,4}})(?:\.weight|\.bias)?")
        if n >= backbone.text_tower.n_blocks:
            raise CheckpointError(
                f"{last}: found {n} deep matrices, expected {backbone.text_tower.n_blocks - 1} or fewer: "
                f"{backbone.name} has {backbone.text_tower.n_blocks} text blocks"
            )
        ids = zip(IDS, (1, self.n_abnormal), strict=True)
        return (*self.own, *_deep_keys(n), *(Key(name, "", (1, count, "L"), integers=True) for name, count in ids))

    def read(self, state: Mapping[str, Tensor], backbone: Backbone) -> tuple[dict[str, Any], dict[str, Tensor]]:
        overrides, tensors = super().read(state, backbone)
        deep = tensors.setdefault("deep_tokens", torch.zeros(0, 0, backbone.text_tower.width))
        return {**overrides, "deep_len": deep.shape[1], "deep_depth": len(deep) + 1}, tensors

    def check(self, state: Mapping[str, Tensor], method: Method) -> None:
        """Refuses a file whose prompts have other words than ours."""
        for key, ours in _ids(method, state["ctx_neg"].shape[1]).items():
            other = (state[key].cpu() != ours).nonzero()
            if len(other):
                at = tuple(other[0].tolist())
                found, expected = int(state[key][at]), int(ours[at])
                raise CheckpointError(
                    f"{key}: found token {found} at {at}, expected {expected}; it was trained with other words than "
                    f"{self.title}'s"
                )

    def write(self, method: Method) -> dict[str, Tensor]:
        """The official state dict, with zeros for its unused projections.

        Without the backbone's weights the copies of rows of its token table are left out.
        """
        config, tensors = method.resolved_config(), method.own_state()
        for name, value in self.needs.items():
            if config[name] != value:
                raise CheckpointError(f"{name}: found {config[name]}, expected {value}; the official code has no other")
        depth = len(tensors["deep_tokens"])
        state = renamed([*self.own, *_deep_keys(depth)], tensors)
        width, (_, n_abnormal, own, _) = state["ctx_pos"].shape[-1], state["ctx_neg"].shape
        for i in range(depth):
            state[f"{PROJECTION}.{i}.weight"] = torch.zeros(PROJECTION_WIDTH, width)
            state[f"{PROJECTION}.{i}.bias"] = torch.zeros(PROJECTION_WIDTH)
        state |= _ids(method, n_abnormal)
        if method.backbone.weights_hash:
            embedded = method.backbone.text_tower.embed_tokens(_token_ids(method)).cpu()
            normal = state["ctx_pos"].shape[2]
            ends = (("pos", normal, 1), ("neg", own + normal if self.shared else own, n_abnormal))
            for rows, (end, context, count) in zip(embedded, ends, strict=True):
                state[f"token_prefix_{end}"] = rows[:1].repeat(1, count, 1, 1)
                state[f"token_suffix_{end}"] = rows[1 + context :].repeat(1, count, 1, 1)
        return state

    def lacks(self, method: Method) -> str:
        if method.backbone.weights_hash:
            return ""
        return (
            f"token_prefix_* and token_suffix_* are left out, since the weights of {method.backbone.name} are not "
            "here: the official code loads this file with strict=False; --weights PATH puts them in"
        )


def _deep_keys(n: int) -> list[Key]:
    return [Key(f"{DEEP}.{i}", "deep_tokens", ("deep_len", "W"), row=i) for i in range(n)]


def _ids(method: Method, n_abnormal: int) -> dict[str, Tensor]:
    rows = zip(IDS, _token_ids(method), (1, n_abnormal), strict=True)
    return {key: row.to("cpu", torch.int32).repeat(1, n, 1) for key, row, n in rows}


def _token_ids(method: Any) -> Tensor:
    """(2,L): of the normal and abnormal sentence, which every learner of this form has."""
    ids: Tensor = method.token_ids
    return ids
