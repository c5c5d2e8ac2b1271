# pytest tests/test_speed_plan.py
"""Hours on paper: the shipped parts are those of the page, and shared passes and a store only take away."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from zsad_bench.data import catalog
from zsad_bench.errors import UsageError
from zsad_bench.planning.gpu_hours import parse, read_parts

ROOT = Path(__file__).resolve().parents[1]
SPEED = ROOT / "benchmarks" / "speed"


@pytest.fixture(scope="module")
def plan() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SPEED)
        return importlib.import_module("plan")


@pytest.fixture(scope="module")
def counts() -> dict[str, int]:
    return {cls.name: sum(cls.expected[:2]) for cls in catalog.real()}


def test_the_shipped_parts_are_those_of_the_page(plan):
    written = plan.parts_text((ROOT / "docs" / "speed_methods.md").read_text(encoding="utf-8"))
    assert written == plan.PARTS.read_text(encoding="utf-8"), "run `python benchmarks/speed/plan.py --parts`"
    parts = parse(written)
    assert (parts.methods["filo"].steps[1].memory_mib, parts.methods["blip"].backbone) == (2977, "blip-itm-large-coco")


def test_a_page_without_a_gpu_has_no_parts(plan):
    with pytest.raises(UsageError, match=r"no CUDA section; run `python benchmarks/speed/methods.py --device cuda`"):
        plan.parts_text("# Time and memory of the methods\n\n## CPU\n")


@pytest.mark.slow
def test_the_page_is_what_the_script_writes(plan, counts):
    page = plan.PAGE.read_text(encoding="utf-8")
    text = plan.page_text(read_parts(), {"dive_ablation": plan.hours("dive_ablation", read_parts(), counts)})
    line = next(line for line in text.splitlines() if line.startswith("| dive_ablation "))
    assert line in page, "run `python benchmarks/speed/plan.py --page docs/speed_plan.md`"
    assert text.splitlines()[-1] in page


def test_a_recipe_by_hand(plan, counts):
    """FAPrompt's Table 3: AnomalyCLIP and five variants of FAPrompt, three seeds, MVTecAD to one dataset or more."""
    parts = read_parts()
    planned = plan.plan.plan(plan.load(plan.find("faprompt_table_3")))
    jobs = [job for group in planned.groups for job in group.jobs]
    assert {job.method for job in jobs} == {"anomalyclip", "faprompt"}
    alone = shared = 0.0
    epochs = {"anomalyclip": 15, "faprompt": 7}  # as released
    for job in jobs:
        part = parts.methods[job.method]
        alone += epochs[job.method] * counts["mvtec"] * part.steps[0].seconds / 2
        alone += sum(counts[target] for target in job.targets) * part.image.seconds
    encode = plan.encoding_seconds(parts)
    for group in planned.groups:
        for target in group.targets:
            tested = sum(target in job.targets for job in group.jobs)
            shared += (tested - 1) * counts[target] * encode
    found = plan.hours("faprompt_table_3", parts, counts)
    assert (found.jobs, found.trainings, found.unknown) == (len(jobs), len(jobs), frozenset())
    assert found.alone == pytest.approx(alone / 3600)
    assert found.shared == pytest.approx((alone - shared) / 3600)
    once = sum(counts[name] for name in {"mvtec", *(target for job in jobs for target in job.targets)}) * encode
    passes = sum(epochs[job.method] * counts["mvtec"] + sum(counts[t] for t in job.targets) for job in jobs) * encode
    assert found.stored == pytest.approx((alone - passes + once) / 3600)


def test_a_method_that_changes_what_is_encoded_gains_nothing(plan, counts):
    found = plan.hours("dive_ablation", read_parts(), counts)
    assert found.alone == pytest.approx(found.shared) == pytest.approx(found.stored)
