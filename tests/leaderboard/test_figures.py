# pytest tests/leaderboard/test_figures.py
"""Figures from made-up numbers: the same bytes twice, nothing collides, and what they show is what was given."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from msgspec.structs import replace

from tests.made_up_rows import make_row
from zsad_bench.errors import RowError, UnknownNameError, UsageError
from zsad_bench.leaderboard.figures import (
    catalogue,
    complexity,
    cost,
    dive_fig_1,
    dive_fig_3,
    dive_fig_4,
    faprompt_prompts,
    map_grid,
    parameter_study,
    prior_curve,
    quality_cost,
    robustness,
    style,
)
from zsad_bench.leaderboard.tables import prior_curve as curves
from zsad_bench.leaderboard.tables.published import Facts, read_published
from zsad_bench.leaderboard.tables.robustness import lines
from zsad_bench.results.pictures import Pick, write_pictures

mpl = pytest.importorskip("matplotlib", reason="the extra `figures` is not installed")

FACTS = Facts(titles={"clip": "CLIP", "dive": "DIVE", "faprompt": "FAPrompt", "cloth": "Cloth", "parts": "Parts"},
              built=frozenset({"clip", "dive", "faprompt"}))  # fmt: skip
METHODS = {"clip": ("none",), "dive": ("rich", "limited"), "faprompt": ("rich", "limited")}
PRIORS = ("rich", "limited")


def values(rng: np.random.Generator) -> list:
    """Rows of three methods on two datasets of two categories; dive is tested alone, the others together."""
    rows = []
    for (method, priors), metric in itertools.product(METHODS.items(), ("image_auroc", "pixel_aupro")):
        for prior, target, category, seed in itertools.product(priors, ("cloth", "parts"), "ab", (0, 1)):
            if method != "clip" or seed == 0:
                seconds = 2.0 + seed + (0.01 * (1 + PRIORS.index(prior)) if method == "dive" else 0)
                rows.append(make_row(method=method, prior=prior, target=target, category=category, seed=seed,
                                     metric=metric, value=float(rng.uniform(0.6, 0.9)), seconds=seconds,
                                     peak_memory_mb=900.0))  # fmt: skip
    return rows


def settings(method: str, prior: str, field: str, numbers: tuple[int, ...]) -> list:
    return [
        make_row(method=method, prior=prior, variant=f"{field}={x}", metric=metric, seed=seed, value=0.7 + x / 100)
        for x, metric, seed in itertools.product(numbers, ("image_auroc", "pixel_aupro"), (0, 1))
    ]


LEARNERS = {"dive": 0.02, "faprompt": 0.01, **dict.fromkeys([f"method_{i}" for i in range(6)], 0.015)}


def learned_from() -> list:
    """Rows of eight methods, six of them alike, under priors of 1, 2 and 4 types in three draws, as many images held,
    and the whole; of two methods that learn nothing, one of which scores whole sets."""
    draws = range(3)
    places = [(f"rich:types={x}", x, draw) for x in (1, 2, 4) for draw in draws] + [("rich", 5, 0)]
    places += [(f"rich:types={x}:shots=4", 3 + x / 8, draw) for x in (1, 2, 4) for draw in draws]
    rows = [make_row(method=method, prior=prior, draw=draw, value=0.7 + slope * x + draw / 100,
                     key=f"{method}{prior}{draw}")
            for method, slope in LEARNERS.items() for prior, x, draw in places]  # fmt: skip
    return [*rows, make_row(method="clip", value=0.71), make_row(method="whole_sets", value=0.8, transductive=True),
            make_row(method="random", value=0.5)]  # fmt: skip


def under_conditions() -> list:
    """Rows of three methods as they are, under three corruptions and, of one of them, two wordings; two seeds."""
    conditions = ["", *(f"corruption={name}:{s}" for name in ("jpeg", "rotation", "gaussian_noise") for s in (1, 3, 5))]
    rows = []
    for (place, method), seed in itertools.product(enumerate(METHODS), (0, 1)):
        for options in [*conditions, *(["wording=object", "wording=german"] if method == "clip" else [])]:
            severity = int(options[-1]) if options[-1:].isdigit() else 2 * bool(options)
            value, key = 0.9 - 0.02 * (place + 1) * severity + 0.01 * seed, f"{method}{seed}{options}"
            rows.append(make_row(method=method, seed=seed, value=value, data_options=options, key=key))
    return rows


def picture(kind: str, name: str, seed: int) -> Pick:
    rng = np.random.default_rng(seed)
    mask = np.zeros((24, 24), bool)
    mask[:9, 3:12] = True
    map_ = rng.normal(0, 1, (24, 24)).astype(np.float32)
    image = rng.integers(0, 256, (24, 24, 3), np.uint8)
    return Pick(kind, name, 1, 0.3, image, mask, map_, 0.0, 1.0, {"auroc": 0.75, "aupro": 0.5, "rcpro": None})


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[map_grid.ImageMaps]:
    """Pictures of the cells of `values`: two categories of each dataset; parts may not be passed on."""
    board = tmp_path_factory.mktemp("board")
    for row in values(np.random.default_rng(0)):
        about = {"target": row.target, "title": row.target.title(), "licence": "of its own",
                 "redistribute": row.target == "cloth"}  # fmt: skip
        pick = picture("largest", f"{row.target}/{row.category}/1.png", ord(row.category))
        write_pictures(board, row.key, row.category, [pick], about)
    keys = map_grid.cells(values(np.random.default_rng(0)), map_grid.CellChoice("limited"), FACTS)
    return map_grid.image_maps(board, keys)


def attention() -> dive_fig_4.Attention:
    weights = np.random.default_rng(0).dirichlet(np.ones(7), (4, 4))
    names = [f"a photo of an object with a rather long description of number {i}" for i in range(7)]
    one = picture("largest", "cloth/a/1.png", 0)
    return dive_fig_4.Attention("cloth/a/1.png", one.image, one.mask, weights, names, np.arange(7) < 5, 21)


def prompts(count: int = 5) -> list[faprompt_prompts.Prompts]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 1 + count, 8))
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    return [faprompt_prompts.Prompts(f"seed {i}", one) for i, one in enumerate(features)]


def drawn(name: str, images: list[map_grid.ImageMaps]) -> style.Drawn:
    """The figure of that name, from made-up numbers."""
    note = ["Made up."]
    trained = {"clip": 0, "dive": 117_696}
    rows = [replace(r, trained_parameters=trained.get(r.method)) for r in values(np.random.default_rng(0))]
    targets = {"image": ("cloth", "parts"), "pixel": ("cloth", "parts")}
    if name == "dive_fig_1":
        return dive_fig_1.draw(dive_fig_1.means(rows, PRIORS, "image_auroc", FACTS), images[0], FACTS, note)
    if name == "dive_fig_3":
        return dive_fig_3.draw(images, FACTS, note)
    if name == "dive_fig_4":
        return dive_fig_4.draw(attention(), note)
    if name == "faprompt_prompts":
        return faprompt_prompts.draw(prompts(), note)
    if name == "complexity":
        return complexity.draw(cost.costs(rows, FACTS), FACTS, note)
    if name == "quality_cost":
        reached = quality_cost.quality(rows, "limited", quality_cost.SHOWN, targets, FACTS)
        return quality_cost.draw(reached, cost.costs(rows, FACTS), FACTS, note)
    if name == "prior_curve":
        found = curves.curves(learned_from(), {"image": ("cloth",)})
        return prior_curve.draw(found, FACTS, note, curves.flats(learned_from(), found, ["random"]))
    if name == "robustness":
        return robustness.draw(lines(under_conditions(), {"image": ("cloth",)}), FACTS, note)
    of = {"dive_fig_5": catalogue.dive_fig_5, "faprompt_fig_3": catalogue.faprompt_fig_3}[name]
    study = of({"n_ctx": 12, "n_prompts": 10})
    field, method = {"dive_fig_5": ("n_ctx", "dive"), "faprompt_fig_3": ("n_prompts", "faprompt")}[name]
    rows = settings(method, study.prior, field, (4, 10, 12))
    found = parameter_study.lines(study, rows, study.prior, ("image_auroc",), {"image": {"Cloth": ("cloth",)}})
    return parameter_study.draw(study, found, study.prior, note)


def beyond(axis) -> list:
    """The labels of ticks that are not drawn, as they lie outside of what the axis shows."""
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [label for tick in ticks if not low <= tick.get_loc() <= high for label in (tick.label1, tick.label2)]


def collisions(figure) -> list[str]:
    """Texts that overlap one another, or leave the sheet."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()  # puts every text where it belongs
    sheet = figure.bbox
    hidden = {label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in beyond(axis)}
    boxes = []
    for text in figure.findobj(Text):
        if (
            text not in hidden
            and text.get_visible()
            and text.get_text().strip()
            and (text.axes is None or text.axes.axison)
        ):
            boxes.append((text.get_text(), text.get_window_extent(renderer)))
    outside = [f"{t!r} leaves the sheet" for t, b in boxes if b.x0 < -1 or b.y0 < -1 or b.x1 > sheet.x1 + 1]
    across = [
        f"{a!r} over {b!r}" for (a, one), (b, two) in itertools.combinations(boxes, 2)
        if one.x0 + 1 < two.x1 and two.x0 + 1 < one.x1 and one.y0 + 1 < two.y1 and two.y0 + 1 < one.y1
    ]  # fmt: skip
    return outside + across


@pytest.mark.slow
@pytest.mark.parametrize("name", catalogue.FIGURES)
def test_a_figure_is_the_same_bytes_twice_and_its_texts_do_not_collide(name, images, tmp_path):
    if name == "faprompt_prompts":
        pytest.importorskip("sklearn", reason="the extra `figures` is not installed")
    before = dict(mpl.rcParams)
    files = []
    for folder in ("one", "two"):
        with style.look():
            made = drawn(name, images)
            files.append(style.save(made, tmp_path / folder, name, "made up"))
    for one, two in zip(*files, strict=True):
        assert one.read_bytes() == two.read_bytes(), f"{one.name}: other bytes from the same numbers"
    assert dict(mpl.rcParams) == before, "drawing changed matplotlib's settings for everyone"
    svg = files[0][0].read_text(encoding="utf-8")
    assert "Made up." in svg, "the caption is not among the metadata"
    assert "dc:date" not in svg, "a date in the file"
    with style.look():
        found = collisions(made.figure)
        made.figure.dpi = 72  # of an SVG: letters are a little wider or narrower there
        found += collisions(made.figure)
    assert not found, f"{name}: {found}"


def test_the_check_for_collisions_sees_one():
    with style.look():
        made = style.sheet(3, 2, "Title", ["Caption."])
        made.figure.text(0.4, 0.5, "over one another")
        made.figure.text(0.45, 0.5, "over one another")
        assert collisions(made.figure), "two texts in one place were not seen"


def test_what_lacks_categories_is_not_shown():
    rows = [r for r in values(np.random.default_rng(0)) if not (r.method == "dive" and r.category == "b")]
    found = dive_fig_1.means(rows, PRIORS, "image_auroc", FACTS)
    assert ("cloth", "FAPrompt", "rich") in found.by_place
    assert not any(method == "DIVE" for _, method, _ in found.by_place), "a mean over half the categories is shown"
    assert "DIVE, limited, on Cloth" in found.lacking


def test_a_caption_says_a_thing_once(images):
    """Maps and means may both have a method that sees whole sets."""
    found = dive_fig_1.means([*values(np.random.default_rng(0))], PRIORS, "image_auroc", FACTS)
    said = dive_fig_1.draw(found, images[0], FACTS, ["Whole sets: one.", "Whole sets: one."]).caption
    assert said.count("Whole sets: one.") == 1


def test_the_default_is_a_point_of_every_setting_whatever_it_is_called():
    """A sweep computes one configuration once: n_ctx=12 is in no row where deep_depth=9 was first."""
    study = catalogue.dive_fig_5({"deep_depth": 9, "n_ctx": 12, "n_visual": 4})
    rows = [
        make_row(method="dive", prior="limited", variant=variant, value=value)
        for variant, value in (("deep_depth=9", 0.8), ("deep_depth=3", 0.7), ("n_ctx=4", 0.6), ("n_visual=1", 0.5),
                               ("deep=false,n_ctx=4", 0.1), ("deep_depth=3,n_ctx=4", 0.2))
    ]  # fmt: skip
    found = parameter_study.lines(study, rows, "limited", ("image_auroc",), {"image": {"Cloth": ("cloth",)}})
    points = {line.setting.symbol: {x: mean.mean for x, mean in line.points.items()} for line in found}
    assert points == {"P": {3: 0.7, 9: 0.8}, "m": {4: 0.6, 12: 0.8}, "h": {1: 0.5, 4: 0.8}}


def test_printed_numbers_stand_at_the_default():
    study = catalogue.faprompt_fig_3({"n_prompts": 10, "n_patches": 10})
    rows = settings("faprompt", "rich", "n_prompts", (5, 10))
    (line,) = parameter_study.lines(study, rows, "rich", ("image_auroc",), {"image": {"Industrial": ("cloth",)}},
                               read_published(), {"Industrial": "industrial"})  # fmt: skip
    assert line.printed.value == pytest.approx(0.885), "not the industrial mean of the paper"


def test_who_loses_most_is_above_and_a_prior_can_be_chosen():
    rows = learned_from()
    found = curves.curves(rows, {"image": ("cloth",)})
    flat = curves.flats(rows, found, ["random"])
    with style.look():
        made = prior_curve.draw(found, FACTS, [], flat)
    left, right = made.figure.axes
    names = [text.get_text() for text in right.get_yticklabels()]
    assert (names[-1], names[0]) == ("DIVE", "FAPrompt"), "DIVE loses 0.02 for each type, FAPrompt half of that"
    beside = {text.get_text(): text.get_position()[1] for text in left.texts}
    assert beside.keys() == {*names, "CLIP", "whole_sets§"}
    assert list(beside)[:2] == ["CLIP", "FAPrompt"], "from below, where their lines end: 71 and 75"
    assert {*list(beside)[-2:]} == {"DIVE", "whole_sets§"}, "both at 80"
    assert beside["CLIP"] == pytest.approx(71.0, abs=0.5)
    losses = {name: [] for name in names}
    for container in right.containers:
        (x,), (y,) = container.lines[0].get_data()
        losses[names[round(y)]].append(round(x, 6))
    # DIVE under one type: 0.72, 0.73, 0.74. With four images held: no "all", so from four types to one.
    assert losses["DIVE"] == [7.0, 0.75]
    assert right.get_xlabel() == "points lost, from 4 or all to 1 type"
    with style.look():
        chosen = prior_curve.draw(found, FACTS, [], flat, "rich:shots=4")
    assert chosen.figure.axes[0].get_xlabel() == "anomaly types learned from, of rich:shots=4"
    with pytest.raises(UnknownNameError, match=r"unknown prior with a curve 'rich:shot=4'; did you mean rich:shots=4"):
        prior_curve.draw(found, FACTS, [], flat, "rich:shot=4")


@pytest.mark.parametrize("wanted", [[], [3.0], [1, 2, 3], [2, 2, 2], [0, 0, 9, 9.5], [9.9, 10, 10, 10], [5] * 12])
def test_names_stand_apart_near_to_their_lines(wanted):
    found = prior_curve._apart(wanted, 1.0, 0.0, 11.0)
    assert len(found) == len(wanted)
    assert all(b - a >= 1 - 1e-9 for a, b in itertools.pairwise(found)), found
    assert all(-1e-9 <= y <= 11 + 1e-9 for y in found), f"{found}: they fit"
    if wanted == [1, 2, 3]:
        assert found == [1, 2, 3], "what does not touch is not moved"
    if wanted == [2, 2, 2]:
        assert found == [1, 2, 3], "their middle stays"


def test_without_rows_the_sweep_is_named():
    study = catalogue.dive_fig_5({})
    with pytest.raises(RowError, match="run `zsad-bench sweep dive_fig_5`"):
        parameter_study.lines(study, settings("dive", "limited", "n_ctx", (4,)), "limited", ("image_auroc",),
                         {"image": {"Cloth": ("cloth",)}})  # fmt: skip


def test_a_cost_is_known_only_where_no_other_cell_shared_the_pass():
    found = {one.name: one for one in cost.costs(values(np.random.default_rng(0)), FACTS).methods}
    assert found["DIVE"].known
    assert found["DIVE"].seconds == pytest.approx(2.01 / 10), "not the fastest pass over its images"
    assert not found["CLIP"].known, "CLIP's pass was shared with FAPrompt"
    assert found["CLIP"].shared_by == 3, "CLIP and FAPrompt under two priors"


def timed(encode: float | None = 0.5, **score: float) -> list:
    """Rows of methods that were tested in one pass, with what each took."""
    return [
        make_row(method=method, category=category, pass_id=f"pass {category}", seconds=9.0, seconds_encode=encode,
                 seconds_score=seconds, n_images=10, peak_memory_mb=700.0)
        for method, seconds in score.items() for category in "ab"
    ]  # fmt: skip


def test_costs_over_four_decades_do_not_collide():
    trained = {"clip": 1_536, "dive": 117_696, "faprompt": 4_711_120}
    rows = [replace(r, trained_parameters=trained[r.method]) for r in values(np.random.default_rng(0))]
    with style.look():
        made = complexity.draw(cost.costs(rows, FACTS), FACTS, ["Made up."])
        assert collisions(made.figure) == []


def test_what_a_method_trains_is_what_its_rows_say(images):
    with style.look():
        made = drawn("complexity", images)
    said = [text.get_text() for text in made.figure.axes[0].texts]
    assert said == ["none", "117,696", "?"], "CLIP, DIVE, and FAPrompt, of which no row says it"
    assert "No row says how many FAPrompt trains" in made.caption.replace("\n", " ")


def test_a_cost_is_measured_where_rows_say_it():
    found = cost.costs(timed(clip=0.1, dive=0.7), FACTS)
    assert {one.name: (round(one.seconds, 9), one.known, one.memory) for one in found.methods} == {
        "CLIP": (0.06, True, 700.0), "DIVE": (0.12, True, 700.0),
    }  # fmt: skip
    assert found.caption() == "Seconds are of encoding and scoring images, without reading them or training, on cpu."


def test_a_pass_is_known_by_its_id_where_no_times_are():
    rows = timed(None, clip=None, dive=None)
    rows += [replace(row, key="alone", pass_id="other", method="faprompt") for row in rows if row.method == "clip"]
    found = {one.name: one for one in cost.costs(rows, FACTS).methods}
    assert (found["CLIP"].known, found["CLIP"].shared_by) == (False, 2)
    assert found["FAPrompt"].known, "equal seconds by chance are not one pass"


def test_measured_costs_and_those_of_passes_are_told_apart():
    said = cost.costs(timed(dive=0.7) + timed(None, clip=None, faprompt=None), FACTS).caption()
    assert "of encoding and scoring images" in said
    assert "Those of CLIP, FAPrompt are of reading images too." in said
    assert "Filled marks: measured by itself or tested alone." in said


def test_images_that_may_not_be_passed_on_have_to_be_asked_for(images):
    assert {image.dataset for image in map_grid.choose(images, (), (), 8)} == {"cloth"}
    assert map_grid.licences(map_grid.choose(images, (), (), 8)) == ""
    for asked, datasets in ((("parts/b",), ()), ((), ("parts",))):
        chosen = map_grid.choose(images, asked, datasets, 8)
        assert {image.dataset for image in chosen} == {"parts"}
        assert map_grid.licences(chosen) == "Images of Parts (of its own): not to be passed on."
    with pytest.raises(UsageError, match="no kept picture has this in its id"):
        map_grid.choose(images, ("nowhere",), (), 8)


def test_numbers_of_prompts():
    alike = faprompt_prompts.Prompts("alike", np.tile([[1.0, 0.0]], (4, 1)))
    apart = faprompt_prompts.Prompts("apart", np.eye(4))
    assert (faprompt_prompts.mean_cosine(alike), faprompt_prompts.mean_cosine(apart)) == (1, 0)
    assert faprompt_prompts.effective_rank(alike) == pytest.approx(1, abs=1e-6)
    assert faprompt_prompts.effective_rank(apart) == pytest.approx(3), "three orthogonal abnormal prompts"


def test_descriptions_that_stand_out():
    weights = np.full((2, 2, 6), 0.1)
    weights[..., 4] = 0.5  # everywhere high
    weights[0, 0, 2] = 0.3  # high on one patch
    found = dive_fig_4.Attention(
        "id", np.zeros((4, 4, 3), np.uint8), None, weights, list("abcdef"), np.arange(6) < 3, 5
    )
    assert found.highest()[:2] == [4, 2]
    assert found.varied()[0] == 2, "a weight that is the same on every patch does not vary"
    assert found.share()[0, 0] == pytest.approx(0.5)
