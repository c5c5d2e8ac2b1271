# pytest tests/planning/test_recipe.py
"""Recipes: what a file means, and that what is wrong with one is told with file and line before anything runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.methods import toys
from zsad_bench.errors import UnknownNameError, UsageError
from zsad_bench.planning import recipe as recipes

GOOD = "suite: demo\nmethods: [clip]\npriors: [limited]\n"


@pytest.fixture
def load(tmp_path):
    """load(text): the recipe of that text."""

    def read(text: str) -> recipes.Recipe:
        file = tmp_path / "mine.yaml"
        file.write_text(text, encoding="utf-8")
        return recipes.load(file)

    return read


def settings(part: recipes.Part) -> list[tuple[str, dict]]:
    return [(variant.method, dict(variant.settings)) for variant in part.variants]


def test_the_shortest_recipe(load):
    found = load(GOOD)
    (part,) = found.blocks
    assert (found.name, found.title, found.suite) == ("mine", "mine", "demo")
    assert (part.priors, part.targets, part.repeats()) == (("limited",), None, [(0, None)])
    assert settings(part) == [("clip", {})]


def test_variants_and_grids(load):
    (part,) = load(
        "suite: paper\n"
        "settings: {lr: 1e-3}\n"
        "methods:\n"
        "  - dive\n"
        "  - faprompt: {fidelity: official}\n"
        "  - dive: [{}, {deep: false, lr: 0.1}]\n"
        "  - dive: {deep: false, grid: {n_ctx: [4, 8], n_visual: [0, 1]}}\n"
        "priors: [rich]\n"
    ).blocks
    assert settings(part) == [
        ("dive", {"lr": 0.001}),
        ("faprompt", {"lr": 0.001, "fidelity": "official"}),
        ("dive", {"lr": 0.001}),
        ("dive", {"lr": 0.1, "deep": False}),
        *[("dive", {"lr": 0.001, "deep": False, "n_ctx": m, "n_visual": h}) for m in (4, 8) for h in (0, 1)],
    ], "a number like 1e-3 must be one, and a variant's own settings come last"
    assert [variant.line for variant in part.variants][:4] == [4, 5, 6, 6]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("seeds: [3, 4]", [(3, None), (4, None)]),
        ("draws: 2..4", [(0, 2), (0, 3), (0, 4)]),
        ("seeds: [3, 4]\ndraws: [7, 8]", [(3, 7), (4, 7), (3, 8)]),
        ("seeds: [3, 4]\ndraws: [7, 8]\ncross: true", [(3, 7), (3, 8), (4, 7), (4, 8)]),
    ],
)
def test_seeds_and_draws(load, lines, expected):
    assert load(GOOD + lines).blocks[0].repeats() == expected


def test_parts_take_over_what_they_do_not_name(load):
    found = load(
        "suite: paper\nmethods: [dive]\nseeds: [1]\nparts:\n"
        "  - priors: [rich]\n    targets: [visa]\n  - priors: [limited]\n    targets: [mvtec]\n    seeds: [2]\n"
    )
    assert [(p.priors, p.targets, p.seeds, settings(p)) for p in found.blocks] == [
        (("rich",), ("visa",), (1,), [("dive", {})]),
        (("limited",), ("mvtec",), (2,), [("dive", {})]),
    ]


def test_groups_are_found_by_what_methods_declare(load, plug_in):
    plug_in("zsad_toys", {}, methods=toys.ENTRY_POINTS)
    toys.forget()
    try:
        text = "suite: {}\npriors: [rich]\nsettings: {{image_size: 48}}\nmethods: {}\n"
        (block,) = load(text.format("demo", "[dive: [{}, {deep: false}], trained]")).blocks
        assert [(v.method, v.line) for v in block.variants[:2]] == [("dive", 4), ("dive", 4)]
        names = [variant.method for variant in block.variants[2:]]
        assert {"anomalyclip", "mrad", "toy_memory"} <= set(names)
        assert not {"dive", "blip", "clip", "random"} & set(names), "named itself, cannot run here, or does not learn"
        assert all(dict(variant.settings) == {"image_size": 48} for variant in block.variants[2:])
        both = load(text.format("paper", "[trained, training_free]")).blocks[0].variants
        (alone,) = load(text.format("paper", "trained")).blocks
        assert set(names) | {"dive"} == {variant.method for variant in alone.variants}
        still = {variant.method for variant in both} - {variant.method for variant in alone.variants}
        assert {"clip", "winclip", "toy_transductive"} <= still
        assert not {"center_prior", "random"} & still
    finally:
        toys.forget()


def test_a_protocol_brings_suite_and_priors(load):
    found = load("protocol: dive\nmethods: [clip]\n")
    assert (found.suite, found.protocol, found.blocks[0].priors) == ("paper", "dive", ("rich", "limited"))
    assert load("protocol: dive\nmethods: [clip]\npriors: ['limited:types=2']\n").blocks[0].priors == (
        "limited:types=2",
    )


def test_methods_with_published_numbers_only_do_not_stop_it(load):
    found = load("suite: paper\nmethods: [clip, tps]\npriors: [rich]\n")
    assert found.published == ("tps",)
    assert settings(found.blocks[0]) == [("clip", {})]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "expected `key: value` lines"),
        ("methods: [clip]\npriors: [rich]\n", 1, "no suite; name one of demo, paper, or a protocol"),
        ("protocol: visa2025\nmethods: [clip]\n", 1, "unknown protocol 'visa2025'; did you mean visa2026"),
        (
            "methods: [clip]\nsuite: demo\nprotocol: visa2026\n",
            2,
            "protocol visa2026 is for suite paper, found suite demo",
        ),
        ("methods: [clip]\nprotocol: visa2026\npriors: [rich]\n", 3, "prior 'rich': protocol visa2026 has visa2026"),
        ("protocol: dive\nmethods:\n  - clip: {backbone: 3}\n", 3, "backbone of clip: expected a text, found 3"),
        ("suite: demos\n", 1, "unknown suite 'demos'; did you mean demo?"),
        (GOOD + "sedes: [1]\n", 4, "unknown key 'sedes'; did you mean seeds"),
        (GOOD + "parts:\n  - suite: demo\n", 5, "unknown key 'suite'"),
        (GOOD + "seeds: []\n", 4, "seeds: an empty list; nothing would run"),
        (GOOD + "seeds: [0, -1]\n", 4, "seeds: -1; expected whole numbers"),
        (GOOD + "seeds: 3..1\n", 4, "expected a list of numbers or first..last"),
        (GOOD + "draws:\n  - 0\n  - true\n", 6, "draws: True; expected whole numbers"),
        (GOOD + "epochs: many\n", 4, "epochs: 'many'"),
        (GOOD + "cross: 1\n", 4, "expected true or false"),
        (GOOD + "targets: [demo_texture]\n", 4, "unknown dataset 'demo_texture'; did you mean demo_textures"),
        (GOOD + "data: {demo_textur: {scale: 1}}\n", 4, "unknown dataset 'demo_textur'"),
        (GOOD + "title: [a]\n", 4, "title: expected a text"),
        (GOOD + "priors: [rich]\n", 4, "'priors' is given twice"),
        ("suite: demo\nmethods: [clip]\n", 1, "no priors; give a list"),
        ("suite: demo\npriors: [rich]\nmethods:\n  - clip\n  - clpi\n", 5, "unknown method 'clpi'; did you mean clip"),
        ("suite: demo\npriors: [rich]\nmethods:\n  - dive: {grid: {}}\n", 4, "an empty grid"),
        ("suite: demo\npriors: [rich]\nmethods:\n  - dive: {grid: {n_ctx: []}}\n", 4, "an empty grid"),
        ("suite: demo\npriors: [rich]\nmethods:\n  - dive: []\n", 4, "dive has no variants"),
        ("suite: demo\npriors: [rich]\nmethods:\n  - dive: 3\n", 4, "expected settings as {field: value}"),
        ("suite: demo\npriors: [rich]\nmethods: clip\n", 3, "methods: expected a list"),
        ("suite: demo\npriors: [rich]\nmethods: [traind]\n", 3, "unknown method 'traind'; did you mean trained"),
        ("suite: demo\npriors: [rich]\nmethods:\n  - clip\n  - trained: {lr: 1}\n", 5, "trained stands for several"),
        ("suite: demo\nmethods: [clip\npriors: [rich]\n", 3, "not YAML"),
        ("suite: demo\nmethods: [clip]\npriors: [2020-13-45]\n", 3, "is not a YAML value; quote it"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(load, tmp_path, text, line, said):
    with pytest.raises(UsageError) as caught:
        load(text)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.yaml'}:{line}: "), caught.value
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recipes_are_found_by_name_or_path(tmp_path):
    assert recipes.find("demo").name == "demo.yaml"
    with pytest.raises(UnknownNameError, match="unknown recipe 'dive_mian'; did you mean dive_main"):
        recipes.find("dive_mian")
    with pytest.raises(UnknownNameError, match=r"no such file; shipped recipes: .*demo"):
        recipes.find(str(tmp_path / "none.yaml"))


def test_reading_recipes_does_not_load_torch():
    code = (
        "import sys; from zsad_bench.planning import recipe, plan; from zsad_bench.sweep import sweep_folder, worker; "
        "from zsad_bench.sweep.executors import serial; from zsad_bench.commands import status; "
        "recipe.load(recipe.find('demo')); "
        "assert 'torch' not in sys.modules"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_conditions_of_a_block(load):
    whole, part = load(
        "suite: demo\nmethods: [clip]\ncorruptions: [jpeg, 'rotation:2']\nseverities: [1, 5]\nparts:\n"
        "  - priors: [limited]\n  - priors: [rich]\n    corruptions: [all]\n    severities: [3]\n    wordings: [all]\n"
    ).blocks
    assert whole.conditions == ("jpeg:1", "jpeg:5", "rotation:2")
    assert part.conditions == (
        "gaussian_noise:3", "gaussian_blur:3", "defocus_blur:3", "brightness:3", "jpeg:3", "low_resolution:3",
        "rotation:3", "wording:object", "wording:synonym", "wording:german", "wording:french",
    )  # fmt: skip
    assert load(GOOD).blocks[0].conditions == ()


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("corruptions:\n  - jpeg\n  - jpg\n", UnknownNameError, ":6: unknown corruption 'jpg'; did you mean jpeg"),
        ("corruptions: ['jpeg:9']\n", UsageError, ":4: corruption jpeg:9: expected a severity from 1 to 5"),
        ("corruptions: [jpeg]\nseverities: [0]\n", UsageError, ":5: severity 0: expected whole numbers from 1 to 5"),
        ("corruptions: [jpeg]\nseverities: [true]\n", UsageError, ":5: severity True: expected whole numbers"),
        ("corruptions: jpeg\n", UsageError, ":4: corruptions: expected a list"),
        ("severities: [1]\n", UsageError, ":4: severities: of what?"),
        ("wordings: [germn]\n", UnknownNameError, ":4: unknown wording 'germn'; did you mean german"),
        ("corruption: [jpeg]\n", UnknownNameError, ":4: unknown key 'corruption'; did you mean corruptions"),
    ],
)
def test_wrong_conditions_name_their_line(load, tmp_path, text, error, said):
    with pytest.raises(error) as caught:
        load(GOOD + text)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.yaml'}{said}"), caught.value
