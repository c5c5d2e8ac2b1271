# pytest tests/commands/test_evaluate.py
"""Maps that a run made, saved and evaluated, give that run's numbers; what is odd is said, what is wrong is named."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer

from tests.data.test_saved_maps import save
from zsad_bench.metrics.category import CategoryMetrics
from zsad_bench.planning.configure import build
from zsad_bench.results import rows as store
from zsad_bench.results.external_maps import read_external
from zsad_bench.results.image_scores import read_scores
from zsad_bench.runner.external import MAXIMUM
from zsad_bench.runner.metric_collector import Collector
from zsad_bench.runner.shared_encoder import SharedPass
from zsad_bench.runner.train import trainer_options

SCALE = 0.04  # two to four images per category and label
SIZE = 32
DATASET = "demo_textures"
OPTIONS = ("--dataset", DATASET, "--data", f"scale={SCALE}", "--suite", "demo", "--image-size", str(SIZE))


class Keep(Callback):
    """Keeps what a pass predicts, by image."""

    def __init__(self) -> None:
        self.maps: dict[str, np.ndarray] = {}
        self.scores: dict[str, float] = {}

    def on_test_batch_end(self, trainer, module, outputs, batch, *args) -> None:
        (prediction,) = outputs.values()
        for i, sample in enumerate(batch.samples):
            name = sample.id.partition("/")[2]
            self.maps[name] = prediction.map[i].numpy().copy()
            self.scores[name] = float(prediction.score[i])


@pytest.fixture(scope="module")
def ran(mini) -> SimpleNamespace:
    """One pass of CLIP over the small textures: its metrics, and what it predicted."""
    from zsad_bench.api import load_dataset

    method = build("clip", mini, {"image_size": SIZE}, 0).eval()
    data = load_dataset(DATASET, method, scale=SCALE, workers=0)
    values, keep = {}, Keep()

    def finished(_, category, found) -> None:
        values.update({(category.name, key): value.value for key, value in found.result.values.items()})

    trainer = Trainer(logger=False, enable_progress_bar=False, callbacks=[Collector(data, finished), keep],
                      **trainer_options())  # fmt: skip
    trainer.test(SharedPass({"clip": method}), datamodule=data, verbose=False)
    truth = {s.id: s for s in data.samples()}
    return SimpleNamespace(values=values, maps=keep.maps, scores=keep.scores, data=data, truth=truth)


def stem(sample: str) -> str:
    return sample.rpartition(".")[0]


@pytest.fixture
def maps(ran, tmp_path) -> Path:
    """The maps as NPY, under the names of their images."""
    return saved(ran, tmp_path / "maps")


def saved(ran, folder: Path, suffix: str = "npy", change: Callable = lambda values: values) -> Path:
    for sample, values in ran.maps.items():
        path = folder / f"{stem(sample)}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, change(values))
    return folder


@pytest.fixture
def scores(ran, tmp_path) -> Path:
    path = tmp_path / "scores.csv"
    path.write_text("id,score\n" + "".join(f"{DATASET}/{name},{score!r}\n" for name, score in ran.scores.items()))
    return path


def rows_in(tmp_path) -> list[store.Row]:
    return store.load(tmp_path / "leaderboards" / "demo" / "rows")


def values_of(rows) -> dict:
    return {(row.category, row.metric): np.nan if row.value is None else row.value for row in rows}


def same(found: dict, expected: dict, within: float = 0.0) -> None:
    assert found.keys() == expected.keys()
    apart = {key: (found[key], expected[key]) for key in expected
             if not np.isclose(found[key], expected[key], rtol=0, atol=within, equal_nan=True)}  # fmt: skip
    assert not apart, apart


def to_16_bits(values: np.ndarray) -> np.ndarray:
    low, high = 0.0, 1.0  # of CLIP's maps, the same for all images
    assert low <= values.min()
    assert values.max() <= high
    return np.round((values - low) / (high - low) * 65535).astype(np.uint16)


# --- the numbers of a run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors", "tiff"])
def test_saved_floats_give_the_numbers_of_the_run(zsad, ran, tmp_path, scores, suffix):
    folder = saved(ran, tmp_path / "maps", suffix)
    said = zsad("evaluate", str(folder), *OPTIONS, "--scores", str(scores), "--name", "My method", "--by", "a paper")
    assert (said.code, said.err) == (0, ""), said.err
    rows = rows_in(tmp_path)
    same(values_of(rows), ran.values)
    (row,) = {(r.method, r.prior, r.backbone, r.image_size, r.remark, r.suite, r.key, r.maps_hash) for r in rows}
    assert row[:6] == ("external:My method", "unknown", "none", SIZE, "", "demo")
    assert re.fullmatch("[0-9a-f]{16}", row[7])
    assert {r.data_hash for r in rows} == {ran.data.manifest_hash}
    assert all(r.n_images == 4 and r.seconds_encode is r.seconds_score is r.peak_memory_mb is None for r in rows)
    assert "My method (external)" in said.out
    assert "‡ Computed here from saved maps" in said.out
    kept = read_scores(tmp_path / "leaderboards/demo/scores", row[6], "carpet")
    assert dict(zip(kept.ids, kept.scores, strict=True)) == {
        f"{DATASET}/{name}": score for name, score in ran.scores.items() if name.startswith("carpet/")
    }


def test_sixteen_bits_come_close_and_doubles_do_not_lose(zsad, ran, tmp_path, scores):
    folder = saved(ran, tmp_path / "png", "png", to_16_bits)
    assert zsad("evaluate", str(folder), *OPTIONS, "--scores", str(scores)).code == 0
    same(values_of(rows_in(tmp_path)), ran.values, within=5e-3)
    # Shifted so that float32 would make some of them equal: their order is that of the run.
    folder = saved(ran, tmp_path / "double", "npy", lambda values: 4 + values.astype(np.float64))
    said = zsad("evaluate", str(folder), *OPTIONS, "--scores", str(scores), "--out", "other")
    assert said.code == 0, said.err
    assert "ranked in float64, and no pictures are kept" in said.out
    found = values_of(store.load(tmp_path / "other" / "demo" / "rows"))
    legacy = [key for key in ran.values if key[1] == "pixel_aupro_legacy200"]  # its steps are of the range of the maps
    same({k: v for k, v in found.items() if k not in legacy},
         {k: v for k, v in ran.values.items() if k not in legacy}, within=1e-12)  # fmt: skip


def test_any_range_gives_the_same_ranks(zsad, ran, tmp_path):
    """Without scores the maxima of the maps are the scores, whatever their range."""
    folder = saved(ran, tmp_path / "maps", "npy", lambda values: values * 2**40 - 2**30)
    said = zsad("evaluate", str(folder), *OPTIONS)
    assert said.code == 0, said.err
    found = values_of(rows_in(tmp_path))
    assert {row.remark for row in rows_in(tmp_path)} == {MAXIMUM}
    for category in ran.data.categories():
        state = CategoryMetrics("image")
        mine = [name for name in ran.maps if ran.truth[name].category == category.name]
        state.update(torch.tensor([float((ran.maps[name] * 2**40 - 2**30).max()) for name in mine]),
                     torch.tensor([ran.truth[name].label for name in mine]))  # fmt: skip
        for key, value in state.compute().items():
            assert found[category.name, key] == value.value
        for key in ("pixel_auroc", "pixel_aupro"):
            assert found[category.name, key] == pytest.approx(ran.values[category.name, key], abs=1e-3)
    assert MAXIMUM in said.out


def test_maps_of_other_sizes_are_resized_and_counted(zsad, ran, tmp_path, scores):
    """Those of the image's own size as well: each pixel of a map doubled in both directions gives nearly the run."""
    folder = saved(ran, tmp_path / "maps", "npy", lambda values: values.repeat(3, 0).repeat(3, 1))
    said = zsad("evaluate", str(folder), *OPTIONS, "--scores", str(scores))
    assert said.code == 0, said.err
    told = f"12 of 12 maps are resized to {SIZE} x {SIZE} (bilinear); --image-size 96 evaluates at their own size"
    assert told in said.out
    rows = rows_in(tmp_path)
    same({k: v for k, v in values_of(rows).items() if k[1] == "pixel_auroc"},
         {k: v for k, v in ran.values.items() if k[1] == "pixel_auroc"}, within=0.02)  # fmt: skip
    told = read_external(tmp_path / "leaderboards/demo", rows[0].key)
    assert (told.resized, told.sizes) == (12, {"96 x 96 (width x height)": 12})


def test_scores_alone_give_image_metrics(zsad, ran, tmp_path, scores):
    said = zsad("evaluate", "--scores", str(scores), *OPTIONS)
    assert said.code == 0, said.err
    same(values_of(rows_in(tmp_path)), {k: v for k, v in ran.values.items() if k[1].startswith("image_")})
    assert "without maps there are image metrics alone" in said.out
    assert "scores.csv (external)" in said.out, "without a name it is that of what was handed in"


# --- what is kept, and what stands ------------------------------------------------------------------------------------


def test_what_the_maps_are_is_written_beside_the_rows(zsad, ran, maps, tmp_path):
    assert zsad("evaluate", str(maps), *OPTIONS, "--by", "someone, somewhere", "--prior", "none").code == 0
    rows = rows_in(tmp_path)
    assert {row.prior for row in rows} == {"none"}
    told = read_external(tmp_path / "leaderboards/demo", rows[0].key)
    assert (told.name, told.by, told.prior) == ("maps", "someone, somewhere", "none")
    assert (told.dataset, told.scores, told.missing, told.unused) == (DATASET, (), (), ())
    assert told.data_hash == ran.data.manifest_hash
    assert told.kinds == {"npy float32": 12}
    assert (told.low, told.high) == (min(m.min() for m in ran.maps.values()), max(m.max() for m in ran.maps.values()))
    assert set(told.files) == set(ran.maps)
    assert told.files["carpet/test/good/000.png"][0] == "carpet/test/good/000.npy"
    text = (tmp_path / "leaderboards/demo/external" / f"{rows[0].key}.json").read_text()
    assert str(tmp_path) not in text, "the path of a machine is kept"


def test_the_same_maps_under_two_names_keep_both_records(zsad, ran, maps, tmp_path):
    for name, by in (("A", "Alice"), ("B", "Bob")):
        assert zsad("evaluate", str(maps), *OPTIONS, "--name", name, "--by", by).code == 0
    rows = rows_in(tmp_path)
    told = {row.method: read_external(tmp_path / "leaderboards/demo", row.key) for row in rows}
    assert {method: (one.name, one.by) for method, one in told.items()} == {
        "external:A": ("A", "Alice"), "external:B": ("B", "Bob"),
    }  # fmt: skip
    assert len({row.maps_hash for row in rows}) == 1


@pytest.mark.slow
def test_the_same_maps_again_supersede_and_others_are_others(zsad, ran, maps, tmp_path):
    """A newer set of maps under the same name and seed stands in tables; another seed is another run of the method."""
    keys = []
    change = saved(ran, tmp_path / "others", "npy", lambda values: values**2 + 0.1)
    for folder, seed in ((maps, "0"), (maps, "0"), (change, "0"), (change, "1")):
        said = zsad("evaluate", str(folder), *OPTIONS, "--name", "mine", "--seed", seed)
        assert said.code == 0, said.err
        keys.append(rows_in(tmp_path)[-1].key)
    assert keys[0] == keys[1]
    assert len({*keys[1:]}) == 3
    page = (tmp_path / "leaderboards/demo/README.md").read_text(encoding="utf-8")
    assert "of the rows of external:mine" in page
    assert "maps_hash differs from the newest run's" in page
    with (tmp_path / "leaderboards/demo/demo_textures.csv").open(encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["metric"] == "image_auroc"]
    assert [(line["method"], line["n_runs"], line["external"]) for line in lines] == [("external:mine", "2", "True")]
    assert zsad("rows", "verify", "leaderboards/demo").code == 0


def test_it_stands_beside_a_measured_method_and_is_never_the_best(zsad, small, maps, tmp_path):
    """Named as a method that there is, it is still another line, and takes no rank from it."""
    assert zsad("bench", "--method", "center_prior", "--prior", "none", "--suite", "demo", "--targets", DATASET,
                "--set", f"image_size={SIZE}").code == 0  # fmt: skip
    measured = store.load(tmp_path / "leaderboards/demo/rows/center_prior.jsonl")
    assert zsad("evaluate", str(maps), *OPTIONS, "--name", "center_prior").code == 0
    assert store.load(tmp_path / "leaderboards/demo/rows/center_prior.jsonl") == measured
    page = (tmp_path / "leaderboards/demo/README.md").read_text(encoding="utf-8")
    assert "| Center prior (image_size=32) *(sanity check)*" in page
    assert "| center_prior (external)" in page
    assert "**" not in page.split("## Textures")[1].split("\n\n")[2], "one ranked number has nobody to be better than"
    assert zsad("page", "demo").code == 0
    assert zsad("table", "pivot", "--suite", "demo", "--metric", "image_auroc").code == 0


# --- what is odd or wrong ---------------------------------------------------------------------------------------------


def test_inverted_maps_are_told_and_left_as_they_are(zsad, ran, tmp_path):
    truth = {name: np.zeros((SIZE, SIZE), np.float32) for name in ran.maps}
    for batch in ran.data.test_dataloader():
        for i, sample in enumerate(batch.samples):
            truth[sample.id.partition("/")[2]] = -batch.masks[i].numpy().astype(np.float32)
    folder = saved(SimpleNamespace(maps=truth), tmp_path / "maps")
    said = zsad("evaluate", str(folder), *OPTIONS)
    assert said.code == 0, said.err
    (line,) = [line for line in said.out.splitlines() if "worse than chance" in line]
    assert "pixel_auroc is 0.000 on average" in line
    assert "nothing was changed" in line
    assert {row.value for row in rows_in(tmp_path) if row.metric == "pixel_auroc"} == {0.0}


def test_missing_maps_stop_or_are_left_out_and_counted(zsad, refused, maps, tmp_path):
    for name in ("good/000", "good/001"):
        (maps / "carpet/test" / f"{name}.npy").unlink()
    line = refused(1, "evaluate", str(maps), *OPTIONS)
    assert "2 images without a map or a score: carpet/test/good/000.png (map), carpet/test/good/001.png (map)" in line
    assert "--on-missing skip" in line
    assert not (tmp_path / "leaderboards/demo/rows").exists()
    said = zsad("evaluate", str(maps), *OPTIONS, "--on-missing", "skip")
    assert said.code == 0, said.err
    assert "left out: demo_textures: 2 images without a map or a score" in said.out
    counts = {(row.category, row.n_images, row.n_skipped) for row in rows_in(tmp_path)}
    assert counts == {("carpet", 2, 2), ("perforated", 4, 0), ("terrazzo", 4, 0)}
    assert "† On part of the data" in said.out
    assert "2 of 4 images (2 had no map or score and were left out)" in said.out


def test_extra_and_other_files_are_told_and_not_read(zsad, maps):
    np.save(maps / "carpet/train.npy", np.full((2, 2), np.nan))
    (maps / "readme.txt").write_text("about")
    said = zsad("evaluate", str(maps), *OPTIONS)
    assert said.code == 0, said.err
    assert "not used: 1 map of no test image: carpet/train.npy" in said.out
    assert "not read: 1 file of other kinds: readme.txt" in said.out


def test_some_categories_alone(zsad, maps, tmp_path):
    for path in (maps / "terrazzo").rglob("*.npy"):
        path.unlink()
    said = zsad("evaluate", str(maps), *OPTIONS[2:], "--dataset", f"{DATASET}:carpet+perforated")
    assert said.code == 0, said.err
    assert {row.category for row in rows_in(tmp_path)} == {"carpet", "perforated"}


def _nan(maps: Path) -> None:
    values = np.load(maps / "carpet/test/good/000.npy")
    values[3, 4] = np.nan
    np.save(maps / "carpet/test/good/000.npy", values)


def _unreadable(maps: Path) -> None:
    for name in ("000", "001"):
        (maps / f"carpet/test/good/{name}.npy").write_bytes(b"junk")


def _twice(maps: Path) -> None:
    save(maps / "carpet/test/good/000.npz", np.ones((2, 2), np.float32))


def _elsewhere(maps: Path) -> None:
    for number, path in enumerate(sorted(maps.rglob("*.npy"))):
        path.rename(maps / f"bottle_{number}.npy")


def _empty(maps: Path) -> None:
    for path in maps.rglob("*.npy"):
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_nan, r"carpet/test/good/000\.npy: 1 of its 1024 values are nan or infinite, the first at row 3, column 4"),
        (_unreadable, r"cannot read map .*/good/000\.npy .*; 2 of 12 maps cannot be used"),
        (_twice, r"1 ambiguous name: .*000\.npy, .*000\.npz all mean carpet/test/good/000\.png"),
        (_elsewhere, r"none of its 12 maps is of an image of this dataset; expected names such as perforated/\S+\.png "
                     r"\(any suffix\), found bottle_0\.npy"),
        (_empty, "no map, found nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_named_and_nothing_is_written(refused, maps, tmp_path, spoil, told):
    spoil(maps)
    line = refused(1, "evaluate", str(maps), *OPTIONS)
    assert re.search(told, line), line
    assert not (tmp_path / "leaderboards/demo/rows").exists()
    assert not (tmp_path / "leaderboards/demo/external").exists()


def test_a_map_that_lies_on_its_side_is_refused(refused, zsad, tmp_path):
    from tests.data.miniatures.files import write_image

    for kind in ("good", "bad"):
        for number in range(2):
            write_image(tmp_path / "parts" / kind / f"{number}.png", size=(12, 8))
            save_to = tmp_path / "maps" / kind / f"{number}.npy"
            save_to.parent.mkdir(parents=True, exist_ok=True)
            np.save(save_to, np.full((8, 12) if kind == "good" else (12, 8), number + 0.5))
    options = ("--dataset", f"folder:{tmp_path / 'parts'}", "--suite", "demo")
    line = refused(1, "evaluate", "maps", *options)
    assert "2 maps on the side (bad/0.npy is 8 x 12" in line
    for number in range(2):
        np.save(tmp_path / "maps/bad" / f"{number}.npy", np.full((8, 12), number + 1.5))
    said = zsad("evaluate", "maps", *options)
    assert said.code == 0, said.err
    assert "the dataset has no masks: of its maps come scores" in said.out
    assert values_of(rows_in(tmp_path))["parts", "image_auroc"] == 0.875


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "nothing to evaluate"),
        (("maps", "--name", "two\nlines"), "--name"),
        (("maps", "--name", " "), "--name"),
        (("maps", "--name", "x" * 81), "expected one line of 1 to 80 letters"),
        (("maps", "--prior", ""), "--prior"),
        (("maps", "--data", "nope.scale=1"), "nope"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_read(refused, words, told):
    assert told in refused(2, "evaluate", *words, "--dataset", DATASET)


def test_missing_folders_and_datasets(refused):
    assert "nowhere is not a folder of maps" in refused(1, "evaluate", "nowhere", *OPTIONS)
    assert "did you mean" in refused(2, "evaluate", "maps", "--dataset", "demo_texture")
    assert "cannot read scores" in refused(1, "evaluate", "--scores", "none.csv", *OPTIONS)


def test_a_map_that_changes_meanwhile_is_not_evaluated(refused, maps, monkeypatch):
    from zsad_bench.runner import external

    told = external._told

    def meanwhile(*args):
        np.save(maps / "carpet/test/good/000.npy", np.zeros((SIZE, SIZE), np.float32))
        return told(*args)

    monkeypatch.setattr(external, "_told", meanwhile)
    assert "changed while it was evaluated" in refused(1, "evaluate", str(maps), *OPTIONS)
