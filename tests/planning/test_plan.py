# pytest tests/planning/test_plan.py
"""From recipes to cells and groups: what is trained once, what is tested together, and what never becomes a cell."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from zsad_bench import registry
from zsad_bench.errors import UnknownNameError, UsageError
from zsad_bench.planning import recipe as recipes
from zsad_bench.planning.plan import Plan, plan
from zsad_bench.planning.suite import PAPER
from zsad_bench.sweep.stored_plan import StoredPlan


@pytest.fixture
def planned(tmp_path):
    """planned(text, …): the plan of a recipe of that text."""

    def make(text: str, *args, **kwargs) -> Plan:
        file = tmp_path / "mine.yaml"
        file.write_text(text, encoding="utf-8")
        return plan(recipes.load(file), *args, **kwargs)

    return make


def cells(made: Plan) -> list[tuple]:
    return sorted((c.job.method, c.job.prior, c.job.seed, c.job.draw or 0, c.target) for c in made.cells)


def test_what_does_not_train_is_planned_once(planned):
    made = planned(
        "suite: demo\nmethods: [clip, random, coop]\npriors: [rich, limited]\ntargets: [demo_textures]\n"
        "seeds: [0, 1]\ndraws: [0, 1]\n"
    )
    on = "demo_textures"
    assert cells(made) == [
        ("clip", "none", 0, 0, on),
        *[("coop", prior, *repeat, on) for prior in ("limited", "rich") for repeat in ((0, 0), (0, 1), (1, 0))],
        ("random", "none", 0, 0, on),
        ("random", "none", 1, 0, on),
    ]


def test_what_learns_without_drawing_is_trained_once_per_draw(planned):
    text = "suite: demo\nmethods: [mrad]\npriors: [limited]\ntargets: [demo_textures]\nseeds: [3, 1]\ndraws: [0, 1]\n"
    assert cells(planned(text)) == [("mrad", "limited", 0, draw, "demo_textures") for draw in (0, 1)]
    augmented = cells(planned(text + "augment: [jpeg]\n"))
    assert [cell[2:4] for cell in augmented] == [(1, 0), (3, 0), (3, 1)], "augmentation draws by the seed"


def test_a_variant_that_draws_nothing_is_planned_once(planned):
    made = planned(
        "suite: demo\nmethods: [anovl, {anovl: {tta_steps: 0}}]\npriors: [rich]\ntargets: [demo_textures]\n"
        "seeds: [0, 1]\n"
    )
    assert sorted((cell.job.settings.get("tta_steps", 5), cell.job.seed) for cell in made.cells) == [
        (0, 0),
        (5, 0),
        (5, 1),
    ]


def test_one_training_serves_all_its_targets(planned):
    made = planned(
        "suite: demo\nmethods: [coop]\npriors: [limited]\nparts:\n"
        "  - targets: [demo_textures]\n  - targets: [demo_medical, demo_textures]\n"
    )
    ((job, targets),) = [(group.jobs, group.targets) for group in made.groups]
    assert len(job) == 1
    assert targets == ("demo_textures", "demo_medical"), "a target named twice is one cell"


def test_methods_that_share_the_encoder_are_tested_together(planned):
    made = planned(
        "suite: demo\nmethods: [clip, anomalyclip, dive, winclip, {coop: {image_size: 48}}]\npriors: [limited]\n"
        "targets: [demo_textures]\n"
    )
    together = sorted(sorted(job.method for job in group.jobs) for group in made.groups)
    assert together == [["anomalyclip", "clip"], ["coop"], ["dive"], ["winclip"]], (
        "only equal forward passes are shared; DIVE and WinCLIP change what is encoded"
    )


def test_groups_hold_no_more_trained_methods_than_asked(planned):
    text = "suite: demo\nmethods: [clip, coop]\npriors: [limited]\ntargets: [demo_textures]\nseeds: 0..4\n"
    sizes = [Counter(job.trains for job in group.jobs) for group in planned(text, together=2).groups]
    assert sizes == [{True: 2, False: 1}, {True: 2}, {True: 1}]
    whole, halves = planned(text), planned(text, together=2)
    assert {c.id for c in whole.cells} == {c.id for c in halves.cells}, "how cells are grouped must not change them"
    assert len({group.id for group in halves.groups}) == 3


def test_a_swapped_auxiliary_dataset_is_a_training_of_its_own(planned):
    made = planned("suite: paper\nmethods: [clip, coop]\npriors: [rich]\ntargets: [mvtec, visa, btad]\n")
    shown = sorted((group.targets, sorted(job.method for job in group.jobs)) for group in made.groups)
    assert shown == [(("mvtec",), ["clip", "coop"]), (("visa", "btad"), ["clip", "coop"])]


def test_no_cell_where_target_and_auxiliary_coincide(planned):
    text = "suite: paper\nmethods: [clip, coop]\npriors: [limited]\n"
    made = planned(text)
    assert made.left_out == (("limited", "dtd"),)
    assert ("coop", "dtd") not in {(c.job.method, c.target) for c in made.cells}
    with pytest.raises(UsageError, match=r"mine\.yaml:5: target 'dtd' is what prior 'limited' learns from"):
        planned(text + "targets: [visa,\n  dtd]\n")


def test_what_is_not_here_is_told_and_the_rest_is_planned(planned):
    made = planned(
        "suite: paper\nmethods: [clip, coop]\npriors: [rich, limited]\ntargets: [visa, elpv]\n",
        lambda name: name in ("elpv", "mvtec"),
    )
    assert cells(made) == [("clip", "none", 0, 0, "elpv"), ("coop", "rich", 0, 0, "elpv")]
    assert Counter(dataset for _, dataset, _ in made.absent) == {"visa": 2, "dtd": 2}


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("suite: demo\npriors: [rich]\nmethods:\n  - clip\n  - dive: {gama: 1}\n", UnknownNameError,
         ":5: unknown option of dive 'gama'; did you mean gamma"),
        ("suite: demo\npriors: [rich]\nmethods:\n  - dive: {n_ctx: x}\n", UsageError, ":4: dive: n_ctx='x' does not"),
        ("suite: demo\nmethods: [dive]\npriors:\n  - rich\n  - limitd\n", UnknownNameError, ":5: unknown prior"),
        ("suite: demo\nmethods: [dive]\npriors: ['rich:types=0']\n", UsageError, ":3: prior 'rich:types=0'"),
    ],
)  # fmt: skip
def test_wrong_settings_and_priors_name_their_line(planned, tmp_path, text, error, said):
    with pytest.raises(error) as caught:
        planned(text)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.yaml'}{said}"), caught.value


@pytest.mark.parametrize("name", recipes.names())
def test_shipped_recipes_can_be_planned(name):
    made = plan(recipes.load(recipes.find(name)))
    assert made.groups, "nothing to run"
    assert len({cell.id for cell in made.cells}) == len(made.cells), "a cell is planned twice"
    known = registry.names("methods")
    assert {cell.job.method for cell in made.cells} <= set(known)


def test_every_file_of_recipes_is_a_recipe():
    files = {path.stem for path in (Path(__file__).parents[2] / "benchmarks" / "recipes").glob("*.yaml")}
    assert set(recipes.names()) == files >= {"demo", "faprompt_tables_1_2", "dive_main", "prior_curve"}


def test_the_papers_protocols():
    tables = plan(recipes.load(recipes.find("faprompt_tables_1_2")))
    assert {cell.target for cell in tables.cells} == set(PAPER.targets)
    assert tables.recipe.published == ()
    with_blip = [
        {job.method for job in group.jobs} for group in tables.groups if "blip" in {j.method for j in group.jobs}
    ]
    assert all(methods == {"blip"} for methods in with_blip), "one process has one backbone"
    levels = {name: registry.load("datasets", name).level for name in {cell.target for cell in tables.cells}}
    assert sum(level != "pixel" for level in levels.values()) == 13
    assert sum(level != "image" for level in levels.values()) == 14
    fidelities = {c.job.settings.get("fidelity") for c in tables.cells if c.job.method in ("anomalyclip", "faprompt")}
    assert fidelities == {"official", "paper"}

    main = plan(recipes.load(recipes.find("dive_main")))
    for prior in ("rich", "limited"):
        targets = {cell.target for cell in main.cells if cell.job.prior == prior}
        level = [registry.load("datasets", name).level for name in targets]
        assert sum(one != "pixel" for one in level) == 8, f"{prior}: classification targets {targets}"
        assert sum(one != "image" for one in level) == 8, f"{prior}: segmentation targets {targets}"
    assert len({cell.target for cell in main.cells}) == 12


@pytest.mark.parametrize(("name", "n_draws"), [("prior_curve", 10), ("prior_curve_demo", 3)])
def test_the_prior_curve_is_of_every_method_that_learns_under_one_protocol(name, n_draws):
    curve = plan(recipes.load(recipes.find(name)))
    away = {"blip"}  # on another backbone, or on none
    classes = {name: registry.load("methods", name) for name in registry.names("methods")}
    assert {c.job.method for c in curve.cells if c.job.trains} == {n for n in classes if classes[n].trains()} - away
    still = {n for n, cls in classes.items() if not cls.trains() and not cls.is_sanity_check}
    assert {c.job.method for c in curve.cells if not c.job.trains} == still >= {"clip", "winclip"}
    taken = {"types=", "shots="}
    of_method: dict[str, set] = {}
    for cell in curve.cells:
        if cell.job.trains and any(item in cell.job.prior for item in taken):
            of_method.setdefault(cell.job.method, set()).add((cell.job.prior, cell.job.draw, cell.job.seed))
    assert len({frozenset(places) for places in of_method.values()}) == 1, "a method has points that another one lacks"
    draws = Counter(prior for prior, _, _ in of_method["dive"])
    assert set(draws.values()) == {n_draws}, f"{name}: as many draws for each point: {draws}"


def test_targets_that_cannot_be_read_are_left_out_where_nobody_names_them(planned):
    text = "suite: demo\nmethods: [clip]\npriors: [limited]\n"
    whole, rest = planned(text), planned(text, without={"demo_objects", "elpv"})
    assert {c.target for c in whole.cells} - {c.target for c in rest.cells} == {"demo_objects", "elpv"}
    named = planned(f"{text}targets: [demo_objects]\n", without={"demo_objects"})
    assert [c.target for c in named.cells] == ["demo_objects"], "named, it is for the run to say what is wrong"


def test_categories_of_one_dataset_are_one_target(planned):
    made = planned(
        "suite: paper\nmethods: [clip, coop]\npriors: [rich]\ntargets: [mvtec:wood, visa, 'mvtec:pill+screw']\n"
    )
    shown = sorted((group.targets, sorted(job.method for job in group.jobs)) for group in made.groups)
    assert shown == [(("mvtec:pill+screw+wood",), ["clip", "coop"]), (("visa",), ["clip", "coop"])], (
        "the auxiliary dataset is swapped for categories of it too"
    )
    with pytest.raises(UnknownNameError, match=r"mine\.yaml:6: unknown category of mvtec 'pil'; did you mean pill"):
        planned("suite: paper\nmethods: [clip]\npriors: [rich]\ntargets:\n  - visa\n  - mvtec:pil\n")
    with pytest.raises(UsageError, match=r"mine\.yaml:4: target 'mvtec:pill' is what prior 'mvtec' learns from"):
        planned("suite: paper\nmethods: [coop]\npriors: [mvtec]\ntargets: [mvtec:pill]\n")
    gone = planned("suite: paper\nmethods: [clip]\npriors: [rich]\ntargets: [mvtec:pill]\n", lambda name: False)
    assert [(dataset, target) for _, dataset, target in gone.absent] == [("mvtec", "mvtec:pill")]


def test_a_prior_without_masks_is_told_with_the_line_of_the_method(planned):
    text = "suite: paper\nmethods:\n  - coop\n  - cocoop: {preset: zsad}\npriors: [rich, brainmri]\ntargets: [visa]\n"
    with pytest.raises(UsageError, match=r"mine\.yaml:4: cocoop learns from masks, and auxiliary dataset brainmri"):
        planned(text)
    assert planned(text.replace(": {preset: zsad}", "")).cells
    assert planned(text.replace("brainmri", "brainmri:synthetic")).cells, "what is generated has masks"


def test_the_printed_numbers_of_elpv_need_one_backbone_each_and_no_training():
    made = plan(recipes.load(recipes.find("elpv_published")))
    assert [[(job.method, dict(job.settings)) for job in group.jobs] for group in made.groups] == [
        [("clip", {}), ("clip", {"class_names": "raw"}), ("clip_ac", {})],
        [("winclip", {"fidelity": "official"})], [("winclip", {})],
    ], "what is on one backbone shares the pass over the images"  # fmt: skip
    assert {cell.target for cell in made.cells} == {"elpv"}
    assert not any(cell.job.trains for cell in made.cells)
    stored = StoredPlan.of(made, Path("board"), Path("runs"))
    runs = [stored.run_spec_of(job) for group in made.groups for job in group.jobs]
    assert [run.weights_of for run in runs] == [("ViT-L-14-336-quickgelu", "openai")] * 3 + [
        ("ViT-B-16-plus-240", "laion400m_e31")
    ] * 2  # fmt: skip
    assert [run.overrides["image_size"] for run in runs] == [518, 518, 518, 240, 240]
    with_file = replace(stored, weights="/some/file")
    files = [with_file.run_spec_of(job).weights_of[1] for group in made.groups for job in group.jobs]
    assert files == ["/some/file"] * 3 + ["laion400m_e31"] * 2, "a file of weights is for the backbone that most share"


def test_a_variant_runs_on_the_backbone_that_it_names(planned):
    text = "suite: paper\npriors: [rich]\ntargets: [visa]\nmethods:\n  - clip\n"
    made = planned(f"{text}  - clip: {{backbone: ViT-B-16-plus-240, weights: laion400m_e31, image_size: 240}}\n")
    assert [[job.backbone for job in group.jobs] for group in made.groups] == [[None], ["ViT-B-16-plus-240"]]
    (own,) = made.groups[1].jobs
    assert dict(own.settings) == {"image_size": 240}, "what it runs on is no option of the method"
    assert {cell.id for cell in planned(text).cells} < {cell.id for cell in made.cells}
    stored = StoredPlan.of(made, Path("board"), Path("runs"))
    again = StoredPlan.from_json(stored.to_json(), Path("plan.json"))
    specs = [again.run_spec_of(job) for group in again.groups for job in group.jobs]
    assert [spec.weights_of for spec in specs] == [
        ("ViT-L-14-336-quickgelu", "openai"), ("ViT-B-16-plus-240", "laion400m_e31"),
    ]  # fmt: skip
    assert specs[0].id != specs[1].id


def test_a_protocol_says_what_is_learned_from_and_at_which_size(planned):
    made = planned("protocol: visa2026\nmethods: [anomalyclip]\ntargets: [visa, mvtec, btad]\n")
    assert sorted((group.jobs[0].prior, group.targets) for group in made.groups) == [
        ("visa2026", ("mvtec", "btad")), ("visa2026", ("visa",)),
    ]  # fmt: skip
    stored = StoredPlan.from_json(StoredPlan.of(made, Path("b"), Path("r")).to_json(), Path("plan.json"))
    spec = stored.run_spec_of(stored.groups[0].jobs[0])
    assert (spec.suite.protocol.name, spec.overrides, spec.settings) == ("visa2026", {"image_size": 518}, {})
    every = {cell.target for cell in planned("protocol: visa2026\nmethods: [anomalyclip]\n").cells}
    assert {"mvtec", "visa", "kvasir"} <= every <= set(registry.names("datasets"))


# --- conditions -------------------------------------------------------------------------------------------------------

BASE = "suite: demo\nmethods: [clip, anomalyclip]\npriors: [limited]\ntargets: [demo_objects]\n"


def test_targets_are_tested_as_they_are_and_under_each_condition(planned):
    made = planned(BASE + "corruptions: [jpeg, 'rotation:2']\nseverities: [1, 5]\nwordings: [german]\n")
    bad = ["jpeg:1", "jpeg:5", "rotation:2"]
    targets = {method: [c.target for c in made.cells if c.job.method == method] for method in ("clip", "anomalyclip")}
    assert targets["anomalyclip"] == ["demo_objects", *(f"demo_objects@{each}" for each in bad)]
    assert targets["clip"] == [*targets["anomalyclip"], "demo_objects@wording:german"]
    assert made.same_words == (
        "AnomalyCLIP is not tested under other wordings: as it is configured here, its test reads no names of the "
        "dataset's card",
    )
    clean = {cell.id for cell in planned(BASE).cells}
    assert clean < {cell.id for cell in made.cells}, "the cells without a condition are those of any recipe"


def test_corrupted_images_are_encoded_once_for_all_methods(planned):
    made = planned(BASE + "corruptions: [jpeg]\nwordings: [german]\n")
    shared, worded = sorted(made.groups, key=lambda group: -len(group.targets))
    assert {job.method for job in shared.jobs} == {"clip", "anomalyclip"}
    assert all(len(job.targets) == 6 for job in shared.jobs), "as it is, and five severities"
    assert [(job.method, job.targets) for job in worded.jobs] == [("clip", ("demo_objects@wording:german",))]
    (one,) = planned(BASE + "corruptions: [jpeg]\nwordings: [german]\n", equal_targets=False).groups
    assert len(one.targets) == 7, "one process does all"


def test_wordings_go_to_what_reads_the_names_of_cards(planned):
    text = (
        "suite: paper\nmethods: [winclip, {winclip: {class_names: prompt_name}}, aa_clip, clip, april_gan]\n"
        "priors: [limited]\ntargets: [visa]\nwordings: [synonym]\n"
    )
    made = planned(text)
    reading = {(c.job.method, c.job.variant) for c in made.cells if "@wording" in c.target}
    assert reading == {("winclip", "class_names=prompt_name"), ("clip", "")}
    assert [line.partition(" is not")[0] for line in made.same_words] == ["WinCLIP", "AA-CLIP", "APRIL-GAN"]


def test_a_wording_without_a_word_for_a_target_is_left_out_and_said(planned):
    made = planned(
        "suite: paper\nmethods: [clip]\npriors: [limited]\ntargets: [btad, visa, 'mvtec:transistor']\n"
        "wordings: [german]\n"
    )
    assert [c.target for c in made.cells if "@" in c.target] == ["visa@wording:german"]
    assert [line.partition(" ")[0] for line in made.same_words] == ["btad", "mvtec:transistor"]


def test_what_learns_from_a_target_is_not_tested_on_it_under_a_condition(planned):
    text = "suite: paper\nmethods: [clip, coop]\npriors: [rich]\ntargets: [mvtec, visa]\ncorruptions: ['jpeg:3']\n"
    made = planned(text)
    groups = {tuple(group.targets): {job.method for job in group.jobs} for group in made.groups}
    assert groups == {
        ("mvtec", "mvtec@jpeg:3"): {"clip", "coop"},
        ("visa", "visa@jpeg:3"): {"clip", "coop"},
    }
    gone = planned(text.replace(", coop", "").replace("mvtec, ", ""), lambda _: False)
    assert [target for _, _, target in gone.absent] == ["visa", "visa@jpeg:3"]
