# pytest tests/sweep/test_schedule.py
"""A sweep that is driven from Python: no command, an executor in this process, a listener that hears what happens."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from zsad_bench.console import Console
from zsad_bench.errors import ZsadError
from zsad_bench.planning import recipe as recipes
from zsad_bench.planning.plan import JobGroup, plan
from zsad_bench.results import rows as store
from zsad_bench.runner.opened import Opened
from zsad_bench.sweep import worker
from zsad_bench.sweep.executors import Event
from zsad_bench.sweep.executors.inline import Inline
from zsad_bench.sweep.schedule import Listener, _waves, hashed, todo, work_through
from zsad_bench.sweep.stored_plan import SCHEMA, StoredPlan
from zsad_bench.sweep.sweep_folder import SweepFolder
from zsad_bench.sweep.sweep_status import SweepStatus

RECIPE = """
suite: demo
methods: [clip, winclip]
priors: [limited]
targets: [demo_textures]
settings: {image_size: 32}
"""
pytestmark = pytest.mark.usefixtures("small")


class Heard(Listener):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def hashing(self) -> None:
        self.words.append("hashing")

    def begins(self, status: SweepStatus, held: list[JobGroup]) -> None:
        self.words.append(f"begins, {len(held)} held")

    def started(self, group: JobGroup, where: str) -> None:
        self.words.append(f"started {group.jobs[0].method}")

    def done(self, group: JobGroup, seconds: float) -> None:
        self.words.append(f"done {group.jobs[0].method}")

    def failed(self, group: JobGroup, why: str, log: Path) -> None:
        self.words.append(f"failed {group.jobs[0].method}: {why}")

    def ends(self) -> None:
        self.words.append("ends")


@pytest.fixture
def stored(tmp_path) -> StoredPlan:
    file = tmp_path / "mine.yaml"
    file.write_text(RECIPE)
    return StoredPlan.of(plan(recipes.load(file)), tmp_path / "board", tmp_path / "runs")


@pytest.fixture
def folder(tmp_path) -> SweepFolder:
    return SweepFolder(tmp_path / "sweep")


def computing(stored: StoredPlan, folder: SweepFolder, opened: Opened | None = None) -> Inline:
    console = Console(file=io.StringIO(), width=120)
    return Inline(lambda id_: worker.compute(stored, stored.group(id_), folder, console, opened=opened))


def test_a_sweep_runs_without_a_command(stored, folder):
    heard = Heard()
    status = work_through(stored, folder, computing(stored, folder), heard)
    assert heard.words == ["hashing", "begins, 0 held", "started winclip", "done winclip", "started clip", "done clip",
                           "ends"], "WinCLIP's windows take longer than a plain pass"  # fmt: skip
    assert status.counts() == {"done": 2}
    rows = store.load(stored.board / "rows")
    assert {row.method for row in rows} == {"clip", "winclip"}
    again = Heard()
    work_through(stored, folder, computing(stored, folder), again)
    assert again.words == ["hashing", "begins, 0 held", "ends"], "what is complete was computed again"
    assert SweepStatus.read(folder).counts() == {"done": 2}, "another process sees something else"


def test_rows_decide_whether_a_group_is_done(stored, folder):
    heard = Heard()
    status = work_through(stored, folder, Inline(lambda id_: None), heard)
    assert heard.words[2:4] == ["started winclip", "failed winclip: it said nothing"]
    assert status.counts() == {"failed": 2}
    held = Heard()
    work_through(stored, folder, computing(stored, folder), held)
    assert held.words == ["hashing", "begins, 2 held", "ends"]
    status = work_through(stored, folder, computing(stored, folder), Listener(), retry_failed=True)
    assert status.counts() == {"done": 2}


LENGTHS = """
suite: demo
methods: [clip, anomalyclip, winclip, dive]
priors: [limited]
targets: [demo_textures]
settings: {image_size: 32}
parts:
  - seeds: [0, 1, 2]
    epochs: 20
  - methods: [dive]
    epochs: 1
"""


def test_on_a_fresh_board_the_longest_group_starts_first(tmp_path, folder):
    """By what they compute: a training of DIVE is one cell, and takes longer than three of AnomalyCLIP that share."""
    file = tmp_path / "lengths.yaml"
    file.write_text(LENGTHS)
    stored = StoredPlan.of(plan(recipes.load(file)), tmp_path / "board", tmp_path / "runs")
    due, _ = todo(hashed(stored, folder, Listener()), retry_failed=False)
    jobs = [[(job.method, job.epochs) for job in group.jobs] for group in due]
    assert jobs[:3] == [[("dive", 20)]] * 3, jobs
    assert jobs[3] == [("clip", None), *[("anomalyclip", 20)] * 3], jobs
    assert sorted(jobs[4:], key=str) == [[("dive", 1)], [("winclip", None)]], jobs
    again, _ = todo(hashed(stored, folder, Listener()), retry_failed=False)
    assert [group.id for group in again] == [group.id for group in due]


def test_measured_costs_and_guesses_are_in_one_order(tmp_path, folder, monkeypatch):
    """Guesses go at the pace of what was measured, so that one list has both."""
    file = tmp_path / "lengths.yaml"
    file.write_text(LENGTHS)
    stored = StoredPlan.of(plan(recipes.load(file)), tmp_path / "board", tmp_path / "runs")
    status = hashed(stored, folder, Listener())
    guesses = status.expected_seconds(stored.groups)
    shared, winclip = (next(g for g in stored.groups if g.jobs[0].method == name) for name in ("clip", "winclip"))
    monkeypatch.setattr(status, "cost", lambda group: {shared.id: 1000 * guesses[shared.id]}.get(group.id))
    seconds = status.expected_seconds(stored.groups)
    assert seconds[winclip.id] == pytest.approx(1000 * guesses[winclip.id])
    assert seconds[shared.id] == 1000 * guesses[shared.id]
    monkeypatch.setattr(status, "cost", lambda group: {winclip.id: 5.0, shared.id: 0.1}.get(group.id))
    assert status.expected_seconds(stored.groups)[winclip.id] == 5.0, "what is measured is not guessed"
    status.sizes.clear()
    assert set(status.expected_seconds(stored.groups)) == {winclip.id, shared.id}
    assert todo(status, retry_failed=False)[0][-2:] == [winclip, shared], "what nobody can guess comes first"


def test_keys_of_a_plan_are_those_of_its_runs(tmp_path, folder):
    """One method stands for all seeds, draws and priors of a variant, whatever a configuration says of its seed."""
    file = tmp_path / "keys.yaml"
    file.write_text(
        RECIPE.replace("[clip, winclip]", "[random: [{}, {seed: 5}], anovl, coop: [{}, {n_ctx: 4}]]")
        + "seeds: [0, 1]\ndraws: [0, 1]\nepochs: 1\n"
    )
    stored = StoredPlan.of(plan(recipes.load(file)), tmp_path / "board", tmp_path / "runs")
    quick, whole = hashed(stored, folder, Listener()), hashed(stored, folder, Listener(), Opened())
    assert len(quick.cells) > 8
    assert quick.cells == whole.cells
    assert quick.trainings == whole.trainings
    assert quick.sizes == whole.sizes


def test_a_plan_builds_a_method_once_for_all_its_runs(stored, folder, monkeypatch):
    from zsad_bench.runner import prepared_run

    built: list[str] = []
    build = prepared_run.build
    monkeypatch.setattr(prepared_run, "build", lambda method, *of: built.append(method) or build(method, *of))
    text = RECIPE.replace("[clip, winclip]", "[anovl, coop]") + "seeds: [0, 1, 2]\nepochs: 1\n"
    (folder.path.parent / "seeds.yaml").write_text(text)
    many = plan(recipes.load(folder.path.parent / "seeds.yaml"))
    assert len(many.cells) == 6
    hashed(StoredPlan.of(many, stored.board, stored.runs), folder, Listener())
    assert sorted(built) == ["anovl", "coop"]


def test_one_training_is_never_in_two_groups_at_once(tmp_path, folder):
    """Two variants that are one configuration: AnomalyCLIP as it is, and with a field set to what it has anyway."""
    file = tmp_path / "twice.yaml"
    file.write_text(
        RECIPE.replace("[clip, winclip]", "[anomalyclip: [{}, {n_ctx: 12}, {n_ctx: 4}], clip]") + "epochs: 1"
    )
    stored = StoredPlan.of(plan(recipes.load(file), together=1), tmp_path / "board", tmp_path / "runs")
    status = hashed(stored, folder, Listener())
    waves = _waves(stored.groups, status)
    variants = [[str(stored.group(id_).jobs[-1].variant) for id_ in wave] for wave in waves]
    assert [len(wave) for wave in waves] == [2, 1], variants
    assert "12" in variants[1][0]
    ran: list[list[str]] = []

    class Noted(Inline):
        def run(self, tasks):
            ran.append([task.id for task in tasks])
            return super().run(tasks)

    compute = computing(stored, folder).compute
    status = work_through(stored, folder, Noted(compute), Listener(), status=status)
    assert set(status.counts()) == {"done"}
    assert sorted(ran[0]) == sorted(waves[0])
    assert ran[1:] == [[], []], "its rows were there already, and it was started nevertheless"
    assert len(list(stored.runs.glob("*/anomalyclip.safetensors"))) == 2


def test_an_error_of_this_process_is_raised_and_the_listener_hears_the_end(stored, folder):
    heard = Heard()
    with pytest.raises(ZeroDivisionError):
        work_through(stored, folder, Inline(lambda id_: 1 / 0), heard)
    assert heard.words[-1] == "ends"


def test_what_was_opened_for_the_keys_serves_the_runs(stored, folder, monkeypatch, mini):
    from zsad_bench.runner import opened as module

    loads = []
    monkeypatch.setattr(module, "load_backbone", lambda *names: loads.append(names) or mini)
    opened = Opened()
    status = hashed(stored, folder, Listener(), opened, strict=True)
    work_through(stored, folder, computing(stored, folder, opened), Listener(), status=status)
    assert len(loads) == 1, "the weights were read again for the runs"


# --- the stored plan --------------------------------------------------------------------------------------------------


def test_a_plan_comes_back_from_its_file(stored, folder):
    folder.write(stored, {})
    assert folder.read_plan() == stored
    assert folder.read_plan().groups[0].id == stored.groups[0].id


def test_a_plan_is_read_once_per_process(stored, folder, monkeypatch):
    folder.write(stored, {})
    reads = []
    whole = StoredPlan.from_json.__func__
    monkeypatch.setattr(StoredPlan, "from_json", classmethod(lambda cls, *of: reads.append(of) or whole(cls, *of)))
    monkeypatch.setattr("sys.argv", ["worker", str(folder.path), stored.groups[0].id])
    assert worker.main() == 0
    assert len(reads) == 1


class Meanwhile:
    """Runs workers in this process; before the first one starts, something else is planned in the same folder."""

    def __init__(self, folder: SweepFolder, monkeypatch, **others) -> None:
        self.folder, self.monkeypatch, self.others = folder, monkeypatch, others

    def run(self, tasks):
        self.folder.write(replace(self.folder.read_plan(), **self.others), {})
        for task in tasks:
            self.monkeypatch.setattr("sys.argv", ["worker", *worker.arguments(task.command)])
            yield Event("started", task.id, "here")
            yield Event("ended", task.id, "here", worker.main())


def test_what_is_planned_meanwhile_leaves_a_sweep_its_own_plan(stored, folder, monkeypatch, tmp_path):
    """`sweep --dry-run` of a part, say, or with another board, while the whole runs."""
    others = {"groups": (), "board": tmp_path / "another"}
    status = work_through(stored, folder, Meanwhile(folder, monkeypatch, **others), Listener())
    assert status.counts() == {"done": 2}
    assert not (tmp_path / "another").exists(), "rows went where the other plan wants them"
    assert folder.read_plan().groups == (), "the last plan is the one that is shown"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content.pop("schema"), "plan.json: of schema 1, this version"),
        (lambda content: content.update(schema=99), "plan.json: of schema 99, this version of zsad-bench reads schema"),
        (lambda content: content.pop("groups"), "plan.json: a damaged plan"),
    ],
)
def test_a_plan_of_another_schema_is_refused(stored, folder, change, says):
    folder.write(stored, {})
    content = json.loads(folder.plan_file.read_text())
    assert content["schema"] == SCHEMA
    change(content)
    folder.plan_file.write_text(json.dumps(content))
    for read in (folder.read_plan, lambda: SweepStatus.read(folder)):
        with pytest.raises(ZsadError, match=says) as error:
            read()
        assert "\n" not in str(error.value)
        assert str(folder.plan_file) in str(error.value)


def test_a_torn_plan_is_refused(stored, folder):
    folder.write(stored, {})
    folder.plan_file.write_text(folder.plan_file.read_text()[:100])
    with pytest.raises(ZsadError, match=r"plan\.json: damaged"):
        folder.read_plan()


def test_the_example_of_the_page_runs(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text(encoding="utf-8")
    code = page.split("## From Python")[1].split("```python\n")[1].split("```")[0]
    assert 'recipe.find("demo")' in code
    (tmp_path / "mine.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    exec(code.replace('recipe.find("demo")', 'Path("mine.yaml")'), {})
    assert capsys.readouterr().out.splitlines()[-1] == "Counter({'done': 2})"
