# pytest tests/sweep/test_slurm.py
"""The Slurm executor: through submitit's local jobs always, through a Slurm of our own where slurmctld is installed."""

from __future__ import annotations

import os

import pytest

from tests.sweep.test_executor import gone, task, until_said, without_ticks
from zsad_bench.errors import UsageError, ZsadError
from zsad_bench.sweep.executors import slurm as executor
from zsad_bench.sweep.executors.slurm import Slurm, parameters

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'zsad-bench[slurm]'")


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("4:00:00", 240), ("90:30", 90), ("1-12", 2160), ("2-03:30:00", 3090), ("0:00:10", 1)],
)
def test_times_are_minutes(text, minutes):
    assert parameters(4, {"time": text})["timeout_min"] == minutes


def test_options_become_those_of_sbatch(tmp_path, monkeypatch):
    import submitit

    (tmp_path / "srun").write_text("#!/bin/sh\n")  # that submitit looks for
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def script(**options: str) -> list[str]:
        made = submitit.AutoExecutor(tmp_path, cluster="slurm")
        made.update_parameters(**parameters(4, options))
        return made._executor._make_submission_file_text("run", "0").splitlines()

    lines = script(partition="gpu", account="me", exclusive="")
    for line in ("--partition=gpu", "--account=me", "--exclusive", "--requeue", "--cpus-per-task=4", "--time=1440",
                 "--gpus-per-node=1", "--signal=USR2@90"):  # fmt: skip
        assert f"#SBATCH {line}" in lines, f"{line} is missing from\n" + "\n".join(lines)
    assert any(line.startswith("srun") and line.endswith("run") for line in lines), "jobs have to run under srun"
    assert not [line for line in script(gres="gpu:a100:1") if "gpus-per-node" in line]


def test_wrong_options_are_told(monkeypatch):
    with pytest.raises(UsageError, match="--slurm time=tomorrow: expected minutes"):
        parameters(4, {"time": "tomorrow"})
    monkeypatch.setattr(executor.shutil, "which", lambda name: None)
    with pytest.raises(ZsadError, match="no sbatch and srun on this machine; start the sweep on a login node"):
        Slurm()


def test_jobs_end_with_their_code_and_log(tmp_path):
    log = tmp_path / "logs"
    tasks = [
        task(log, "import os, sys; print(os.environ['HELLO'], sys.argv[1:]); sys.exit(3)", "one"),
        task(log, "print('fine')", "two"),
    ]
    events = without_ticks(Slurm(cluster="local").run(tasks))
    assert [event.task for event in events if event.kind == "started"] == ["one", "two"]
    assert {event.task: event.code for event in events if event.kind == "ended"} == {"one": 3, "two": 0}
    assert (log / "one.log").read_text() == "you ['--leash']\n"
    assert list((tmp_path / "slurm").glob("*_submitted.pkl")), "what submitit writes lies beside the logs"


def test_what_was_asked_to_end_is_submitted_again(tmp_path):
    """143 is what a worker says after SIGTERM; the second time it finds what the first one left."""
    left = tmp_path / "left"
    code = (
        f"import sys; from pathlib import Path; left = Path({str(left)!r}); again = left.exists(); left.touch(); "
        "sys.exit(0 if again else 143)"
    )
    events = without_ticks(Slurm(cluster="local").run([task(tmp_path / "logs", code)]))
    assert [event.kind for event in events if event.kind == "ended"] == ["ended"]
    assert events[-1].code == 0
    assert (tmp_path / "logs" / "one.log").read_text().endswith("submitted again\n")


def test_closing_cancels_the_jobs(tmp_path):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    events = Slurm(cluster="local").run([task(tmp_path / "logs", code)])
    while next(events).kind != "started":
        pass
    pid = int(until_said(tmp_path / "logs" / "one.log"))
    events.close()
    assert gone(pid), "the process still runs"


def test_a_job_that_cannot_start_its_process_says_why(tmp_path):
    made = task(tmp_path / "logs", "")
    events = without_ticks(Slurm(cluster="local").run([type(made)("one", ("/no/python",), made.log)]))
    assert events[-1].code is None
    said = made.log.read_text()
    assert "No such file or directory: '/no/python'" in said
    assert "ended without a result (FAILED); see " in said.splitlines()[-1]
