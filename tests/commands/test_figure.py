# pytest tests/commands/test_figure.py
"""`figure` as a user meets it: what there is, what is refused, and checkpoints as figures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.made_up_rows import make_row
from zsad_bench.leaderboard.figures.catalogue import FIGURES
from zsad_bench.results.rows import append

pytest.importorskip("matplotlib", reason="the extra `figures` is not installed")


@pytest.fixture
def rows(tmp_path) -> None:
    """A demo leaderboard of two methods without pictures."""
    for method, prior in (("clip", "none"), ("dive", "rich"), ("dive", "limited")):
        made = [make_row(suite="demo", method=method, prior=prior, target="demo_textures", metric=metric, value=value)
                for metric, value in (("image_auroc", 0.7), ("pixel_aupro", 0.6))]  # fmt: skip
        append(tmp_path / "leaderboards" / "demo" / "rows" / f"{method}.jsonl", made)


@pytest.fixture
def trained(monkeypatch, mini, tmp_path) -> None:
    """Checkpoints of DIVE and FAPrompt in runs/, as they start, and a folder of images."""
    from zsad_bench.commands import _figure_trained as figure_trained
    from zsad_bench.planning.configure import build
    from zsad_bench.runner import checkpoint

    monkeypatch.setattr(figure_trained, "_opened", lambda name, weights: mini)
    for method in ("dive", "faprompt"):
        built = build(method, mini, {"image_size": 32}, seed=0)
        told = {"prior": "limited", "prior_hash": "", "auxiliary": [], "draw": 0, "seed": 0, "variant": ""}
        checkpoint.save(tmp_path / "runs" / "one" / f"{method}.safetensors", built, told)
    for number, kind in enumerate(("good", "dent")):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / kind / "1.png")


def test_list_says_what_there_is_and_what_it_needs(zsad):
    said = zsad("figure", "list")
    assert said.code == 0, said.err
    assert [line.split()[0] for line in said.out.splitlines()[::2]] == list(FIGURES)
    assert said.out.count(" needs ") == len(FIGURES)


@pytest.mark.slow
def test_all_draws_what_it_can_and_says_what_the_others_lack(zsad, rows, tmp_path):
    said = zsad("figure", "all")
    assert said.code == 0, said.err
    made = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert made == {"dive_fig_1", "complexity", "quality_cost"}, "rows alone give these"
    assert {line.partition(":")[0] for line in said.out.splitlines() if ": not drawn: " in line} == set(FIGURES) - made
    assert "run `zsad-bench sweep dive_fig_5_demo`" in said.out
    assert "nothing here is comparable with a paper's numbers" in said.out, "the caption does not say demo"
    assert zsad("figure", "all", "--board", "nowhere").code == 1, "nothing could be drawn"


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("dive_fig_2",), 2, "did you mean"),
        (("dive_fig_4", "--suite", "demos"), 2, "did you mean demo"),
        (("complexity", "--image", "screw"), 2, "does not take --image; it takes --method"),
        (("dive_fig_1", "--prior", "rich"), 2, "takes two priors and one metric"),
        (("quality_cost", "--metric", "auroc"), 2, "--metric: "),
        (("complexity", "--method", "cilp"), 2, "--method: "),
        (("quality_cost", "--prior", "mvtec"), 1, "no rows with image_auroc or pixel_aupro under prior mvtec"),
        (("prior_curve",), 1, "run `zsad-bench sweep prior_curve_demo`"),
        (("dive_fig_3",), 1, "no pictures of these methods"),
        (("dive_fig_4",), 1, "no checkpoint of dive with prior limited, seed 0, draw 0 under runs"),
        (("dive_fig_4", "--checkpoint", "none.safetensors"), 1, "no such file"),
    ],
)
def test_what_is_refused_is_one_line(refused, rows, args, code, told):
    assert told in refused(code, "figure", *args)


@pytest.mark.slow
def test_checkpoints_as_figures(zsad, refused, rows, trained, tmp_path):
    pytest.importorskip("sklearn", reason="the extra `figures` is not installed")
    common = ("--backbone", "mini", "--out", "drawn")
    said = zsad("figure", "dive_fig_4", "--dataset", f"folder:{tmp_path / 'photos'}", *common)
    assert said.code == 0, said.err
    assert "dent/1.png, attention of patches after block 3" in said.out, (
        "not the anomalous image, or not the last block"
    )
    assert "not to be passed on" in said.out, "a user's own photograph"
    assert zsad("figure", "faprompt_prompts", *common).code == 0
    assert len(list((tmp_path / "drawn").iterdir())) == 4
    wrong = refused(1, "figure", "faprompt_prompts", "--checkpoint", "runs/one/dive.safetensors", *common)
    assert "is of dive; this figure is of faprompt" in wrong
