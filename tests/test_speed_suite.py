# pytest tests/test_speed_suite.py
"""The benchmarks of `make speed` run on miniatures, and what they leave has the right form; no time has to be met."""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import torch

from zsad_bench import registry
from zsad_bench.errors import UsageError, ZsadError

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks" / "speed"
IN_PROCESS = ("faprompt_step", "winclip_windows", "vv_attention", "shared_pass", "end_to_end", "texts", "plan", "rcpro",
              "metrics")  # fmt: skip
SCRIPT = """from _suite import Benchmark, Claim, Found, main, spread

def measure(options):
    {body}

BENCHMARK = Benchmark("A made-up one", measure)
if __name__ == "__main__":
    raise SystemExit(main(BENCHMARK))
"""
FINDS = 'return Found(("way", "s"), [("ours", "1")], [Claim("It", spread([2.0, 3.0, 4.0]), "at least", 3)], "How.")'


@pytest.fixture(scope="module")
def suite() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("suite")


@pytest.fixture(scope="module")
def common(suite) -> ModuleType:
    return importlib.import_module("_suite")


def options_of(common: ModuleType, module: ModuleType, *words: str) -> Namespace:
    return common.parser_of(module.BENCHMARK, None).parse_args(["--quick", "--repeats", "1", *words])


def check_form(record: dict) -> None:
    """What a page and a file need of a record: lines as wide as the head, positive numbers, and what was measured."""
    name = record["name"]
    json.dumps(record)
    assert record["lines"], f"{name}: a table without lines"
    assert all(len(line) == len(record["head"]) for line in record["lines"]), f"{name}: {record['lines']}"
    assert record["claims"], f"{name}: nothing is claimed, so what is it for?"
    for claim in record["claims"]:
        value = claim["value"]
        assert all(math.isfinite(number) for number in value.values()), f"{name}: {claim}"
        assert value["low"] <= value["median"] <= value["high"], f"{name}: {claim}"
    assert record["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert record["threads"] >= 1
    assert record["seconds"] > 0
    assert record["text"]


@pytest.mark.parametrize("name", IN_PROCESS)
def test_a_benchmark_runs_and_leaves_a_record(name, suite, common):
    module = importlib.import_module(name)
    record = common.record_of(name, module.BENCHMARK, options_of(common, module))
    check_form(record)
    assert record["quick"]
    assert all(claim["value"]["low"] > 0 for claim in record["claims"]), f"{name}: something took no time at all"


@pytest.mark.slow
def test_many_images_are_measured_in_processes(suite, common):
    module = importlib.import_module("many_images")
    record = common.record_of("many_images", module.BENCHMARK, options_of(common, module))
    check_form(record)
    assert [line[0] for line in record["lines"]][-1].endswith("the usual way")


def test_a_shared_machine_is_measured_with_both_waits(suite, common, monkeypatch):
    """Without the runs themselves, which take a minute each: who waits how, and what is compared."""
    script = importlib.import_module("shared_machine")
    asked, beside = [], []

    @contextmanager
    def busy(count):
        beside.append(count)
        yield

    def run(wait, threads, arguments):
        asked.append((wait, threads))
        return common.Spent(cpu=2.0 if wait == "short" else 4.0, wall=3.0)

    monkeypatch.setattr(script, "busy", busy)
    monkeypatch.setattr(script, "run", run)
    words = ["--repeats", "2", "--busy", "3", "--threads", "2"]
    record = common.record_of("shared_machine", script.BENCHMARK, options_of(common, script, *words))
    check_form(record)
    assert beside == [0, 0, 3, 3] * 2
    assert [wait for wait, _ in asked] == ["short", *["short", "default"] * 2, *["default", "short"] * 2], (
        "warm-up first"
    )
    assert {threads for _, threads in asked} == {2}
    assert [line[1:] for line in record["lines"][:2]] == [["2", "4", "0.5 (0.5-0.5)"], ["3", "3", "1 (1-1)"]]


@pytest.mark.slow
def test_a_run_on_a_shared_machine_is_the_program_itself(suite, common):
    script = importlib.import_module("shared_machine")
    arguments = ["--method", "random", "--prior", "limited", "--targets", "demo_textures", "--suite", "demo"]
    spent = script.run("short", 1, [*arguments, *script.QUICK])
    assert spent.cpu > 0
    assert spent.wall > 0
    with pytest.raises(ZsadError, match="exit code 2"):
        script.run("short", 1, ["--method", "nobody", "--prior", "limited"])


# --- the references do the same work ----------------------------------------------------------------------------------


def test_another_reference_gives_no_time(suite, common, monkeypatch):
    windows = importlib.import_module("winclip_windows")
    embedding = windows.embedding
    monkeypatch.setattr(windows, "embedding", lambda visual, tokens: embedding(visual, tokens) + 0.01)
    with pytest.raises(ZsadError, match="windows of 2 x 2: both ways differ by 1"):
        windows.measure(options_of(common, windows))
    vv = importlib.import_module("vv_attention")
    second = vv.second_pass
    monkeypatch.setattr(vv, "second_pass", lambda backbone, images, first: second(backbone, images, first + 1))
    with pytest.raises(ZsadError, match="patches: both ways differ"):
        vv.measure(options_of(common, vv))
    step = importlib.import_module("faprompt_step")
    monkeypatch.setattr(step, "sentence_by_sentence", lambda method, prompts, eot: prompts.mean(1)[:, :48])
    with pytest.raises((ZsadError, RuntimeError)):
        step.measure(options_of(common, step))
    texts = importlib.import_module("texts")
    monkeypatch.setattr(texts.OneByOne, "embed_tokens", lambda self, ids: self.tower.embed_tokens(ids) * 1.1, False)
    with pytest.raises(ZsadError, match="cocoop, score of an image: both ways differ by"):
        texts.measure(options_of(common, texts))


def test_a_line_through_points(suite):
    module = importlib.import_module("many_images")
    start, slope, r2 = module.fitted([10, 20, 40], [1.5, 2.5, 4.5])
    assert (start, slope, r2) == pytest.approx((0.5, 0.1, 1.0))
    assert module.fitted([10, 20, 40], [1.0, 4.0, 16.0])[2] == pytest.approx(0.9796, abs=1e-3), "a parabola is no line"
    with pytest.raises(UsageError, match="the smallest first"):
        module.measure(Namespace(quick=False, counts=[500, 100, 20]))


def test_turns_alternate_and_ratios_are_taken_within_them(common):
    order: list[str] = []
    spent = common.alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, warm_up=False)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert [len(each) for each in spent.values()] == [3, 3]
    Spent = common.Spent
    over, under = [Spent(2, 9), Spent(9, 9), Spent(4, 9)], [Spent(1, 1), Spent(3, 1), Spent(1, 1)]
    assert common.ratio(over, under) == (3.0, 2.0, 4.0)
    assert common.ratio(over, under, "cuda") == (9.0, 9.0, 9.0), "a GPU's work is no CPU time"


def test_goals_are_kept_or_not(common):
    def met(median: float, bound: str | None, limit: float | None) -> bool | None:
        return common.Claim("It", common.Ratio(median, median, median), bound, limit).met

    assert [met(8, "at least", 8), met(7.9, "at least", 8), met(1.1, "at most", 1.15)] == [True, False, True]
    assert met(2, None, None) is None


# --- the command ------------------------------------------------------------------------------------------------------


def test_files_declare_themselves(suite):
    names = suite.declared()
    assert {*IN_PROCESS, "many_images", "shared_machine"} <= names.keys()
    assert not {"gpu", "suite", "_suite"} & names.keys()
    for name in names:
        assert isinstance(importlib.import_module(name).BENCHMARK, importlib.import_module("_suite").Benchmark)


@pytest.mark.slow
def test_one_that_fails_is_named_and_does_not_stop_the_others(suite, tmp_path, monkeypatch, capsys):
    for name in ("_suite.py", "_machine.py"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    (tmp_path / "a_broken.py").write_text(SCRIPT.format(body="raise RuntimeError('no luck')"))
    (tmp_path / "b_good.py").write_text(SCRIPT.format(body=FINDS))
    (tmp_path / "c_other.py").write_text("print('declares nothing')\n")
    files = suite.declared(tmp_path)
    assert list(files) == ["a_broken", "b_good"]
    monkeypatch.setattr(suite, "declared", lambda: files)
    page = tmp_path / "speed.md"
    assert suite.main(["--out", str(tmp_path / "out"), "--page", str(page), "--repeats", "2"]) == 1
    assert "a_broken failed: RuntimeError: no luck" in capsys.readouterr().err
    text = page.read_text()
    assert "| It   |  3 (2-4) | at least 3 |  yes |" in text, text
    assert 'make speed ARGS="--only b_good --repeats 2"' in text
    assert "Not measured yet: a_broken." in text
    record = json.loads((tmp_path / "out" / "b_good.json").read_text())
    assert record["claims"][0]["met"] is True
    # What fails later keeps its section.
    (tmp_path / "b_good.py").write_text(SCRIPT.format(body="raise ValueError('now it fails')"))
    (tmp_path / "a_broken.py").write_text(SCRIPT.format(body=FINDS))
    assert suite.main(["--out", str(tmp_path / "out"), "--page", str(page), "--repeats", "2"]) == 1
    assert page.read_text().count("## A made-up one") == 2


def test_an_unknown_benchmark_is_one_line(suite, capsys):
    assert suite.main(["--only", "vv_atention", "--quick"]) == 2
    assert capsys.readouterr().err == "suite.py: unknown benchmark 'vv_atention'; did you mean vv_attention?\n"


def test_the_committed_page_is_what_its_data_say(suite):
    if not suite.PAGE.is_file():
        pytest.skip("docs/speed.md is not written yet: make speed")
    assert suite.PAGE.read_text(encoding="utf-8") == suite.page_of(suite.kept(suite.PAGE))


# --- on a GPU ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpu(suite) -> ModuleType:
    return importlib.import_module("gpu")


@pytest.mark.slow
def test_the_gpu_script_runs_on_a_cpu_and_writes_no_page_there(gpu, tmp_path, capsys):
    file, page = tmp_path / "gpu.json", tmp_path / "speed_gpu.md"
    words = ["clip", "winclip", "--device", "cpu", "--quick", "--repeats", "2", "--batch", "2"]
    found = gpu.main([*words, "--benchmarks", "vv_attention", "--json", str(file)])
    record = json.loads(file.read_text())
    assert {each["name"] for each in record["methods"]} == {"clip", "winclip"}
    measured = [each for each in record["methods"] if "failed" not in each]
    assert {each["name"] for each in measured if each["precision"] == "float32"} == {"clip", "winclip"}
    for each in measured:
        assert len(each["rates"]) == 2
        assert min(each["rates"]) > 0
        assert each["waits"] is None, "nobody knows how long a GPU waits that is not there"
    check_form(record["benchmarks"][0])
    failed = [each for each in record["methods"] if "failed" in each]
    assert all(each["precision"] != "float32" and "does not compute with it" in each["failed"] for each in failed)
    assert found == (1 if failed else 0)
    capsys.readouterr()
    assert gpu.main([*words, "--benchmarks", "none", "--page", str(page)]) == 2
    assert "is for a GPU's figures" in capsys.readouterr().err
    assert not page.exists()
    text = gpu.page_of(record | {"device": "a GPU that was made up"})
    assert "| CLIP " in text
    assert "### V-V attention" in text


def test_without_a_gpu_it_says_so(gpu, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["clip"]) == 2
    said = capsys.readouterr().err
    assert "PyTorch finds no GPU" in said
    assert len(said.splitlines()) == 1


def test_what_fails_or_has_no_time_left_is_named(gpu, monkeypatch, tmp_path):
    cls = registry.load("methods", "clip")
    monkeypatch.setattr(cls, "score", lambda self, features, samples: 1 / 0)
    file = tmp_path / "gpu.json"
    words = ["--device", "cpu", "--quick", "--repeats", "1", "--json", str(file)]
    assert gpu.main(["clip", *words, "--benchmarks", "none"]) == 1
    record = json.loads(file.read_text())
    assert record["methods"][0]["failed"] == "division by zero"
    assert "- CLIP, float32: division by zero" in gpu.page_of(record)
    assert gpu.main(["clip", *words, "--benchmarks", "vv_attention", "--minutes", "0"]) == 1
    record = json.loads(file.read_text())
    assert {each["failed"] for each in [*record["methods"], *record["benchmarks"]]} == {"no time was left"}


def test_busy_time_is_the_union_of_spans(gpu):
    assert gpu.covered([]) == 0
    assert gpu.covered([(5, 6), (0, 2), (1, 3), (1, 2), (6, 7)]) == 5


@pytest.mark.slow
def test_every_method_and_benchmark_runs_as_on_a_gpu(tmp_path):
    file = tmp_path / "gpu.json"
    command = [sys.executable, str(FOLDER / "gpu.py"), "--device", "cpu", "--quick", "--repeats", "1", "--batch", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--minutes", "30", "--json", str(file)],
        env=environment, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    record = json.loads(file.read_text())
    lost = {(each["name"], each["failed"]) for each in [*record["methods"], *record["benchmarks"]]
            if "failed" in each and each.get("precision", "float32") == "float32"}  # fmt: skip
    assert not lost, f"{lost}\n{done.stderr[-2000:]}"
    assert {each["name"] for each in record["methods"]} == set(registry.names("methods"))
