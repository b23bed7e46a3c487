"""`edgeseq status`: what it says while the daemon works, after it ended, and after it was killed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from living import living, until

from edgeseq.watch.pidfile import PidFile
from edgeseq.watch.standing import Standing, duration

if TYPE_CHECKING:
    from conftest import RunEdgeseq


def test_a_run_that_ended(tmp_path: Path, bundle_path: Path, run_edgeseq: RunEdgeseq) -> None:
    with living(tmp_path, bundle_path) as run:
        run.score("barcode01", a=50, other=50)
        run.score("barcode02", other=7)
        run.score("barcode03", reason="short", unclassified=3)
    done = run_edgeseq("status", tmp_path)
    assert done.code == 0
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert re.fullmatch(r"ended in good order, as of \d s ago", lines[0])
    assert lines[2] == "● a detected in barcode01"
    assert "barcode01 100 0.1 a detected a 50.0%, other 50.0%" in lines
    assert "barcode02 7 0.0 nothing detected at 7 reads other 100.0%" in lines
    assert "barcode03 3 0.0 no data yet" in lines
    assert "scored every read, whole" in lines


def test_evidence_of_a_barcode(tmp_path: Path, bundle_path: Path, run_edgeseq: RunEdgeseq) -> None:
    with living(tmp_path, bundle_path) as run:
        run.score("barcode01", a=100, other=900)
    done = run_edgeseq("status", tmp_path, "--barcode", "barcode01")
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    place = lines.index("barcode01, at 1,000 reads; detected once the evidence is 4.3")
    assert re.fullmatch(r"a detected 100 \d\.\d\d–1\d\.\d\d% 0\.1 % \d+\.\d", lines[place + 2])
    assert re.fullmatch(r"b not detected 1 % 0 0\.00–0\.\d\d% 0\.1 % 0\.0", lines[place + 3])


def test_a_barcode_without_reads(tmp_path: Path, bundle_path: Path, run_edgeseq: RunEdgeseq) -> None:
    with living(tmp_path, bundle_path):
        pass
    done = run_edgeseq("status", tmp_path, "--barcode", "barcode77")
    assert done.code == 2
    assert "--barcode barcode77: no read of it was scored" in done.err


def test_no_data_yet(tmp_path: Path, bundle_path: Path, run_edgeseq: RunEdgeseq) -> None:
    with living(tmp_path, bundle_path):
        pass
    done = run_edgeseq("status", tmp_path)
    assert done.code == 0
    assert "No data yet" in done.out
    assert "detected" not in done.out


def test_a_daemon_that_works(tmp_path: Path, bundle_path: Path, run_edgeseq: RunEdgeseq) -> None:
    with living(tmp_path, bundle_path) as run:
        held = PidFile(tmp_path)
        until((tmp_path / "status.json").exists)
        run.score("barcode01", other=5)
        done = run_edgeseq("status", tmp_path, "--json")
        held.close()
    told = json.loads(done.out)
    assert (done.code, told["alive"], told["stored"], told["trouble"]) == (0, True, 5, "")
    assert told["status"]["state"] == "waiting"


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
from living import living, until
from edgeseq.watch.pidfile import PidFile
out = Path({out!r})
out.mkdir()
held = PidFile(out)
with living(out, Path({bundle!r})) as run:
    run.score("barcode01", other=5)
    until((out / "status.json").exists)
    run.score("barcode01", other=5)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_daemon_that_was_killed(tmp_path: Path, bundle_path: Path, repository: Path, run_edgeseq: RunEdgeseq) -> None:
    out = tmp_path / "out"
    facts = {"tests": str(repository / "tests"), "root": str(repository), "out": str(out), "bundle": str(bundle_path)}
    killed = subprocess.run([sys.executable, "-c", KILLED.format(**facts)], check=False)
    assert killed.returncode == -signal.SIGKILL
    done = run_edgeseq("status", out)
    assert done.code == 1
    assert re.match(r"not running, as of \d s ago", done.out)
    text = " ".join(done.out.split())
    assert "the daemon is not running and did not end in good order; start it again with the same command" in text
    assert "5 reads were stored since" in text


def test_a_journal_without_a_status_file(tmp_path: Path, bundle_path: Path, run_edgeseq: RunEdgeseq) -> None:
    with living(tmp_path, bundle_path) as run:
        run.score("barcode01", other=5)
    (tmp_path / "status.json").write_text("{")
    done = run_edgeseq("status", tmp_path)
    assert done.code == 1
    assert "no status file yet" in done.out
    assert "5 reads are stored" in done.out


def test_a_folder_that_is_no_output_folder(tmp_path: Path, run_edgeseq: RunEdgeseq) -> None:
    done = run_edgeseq("status", tmp_path)
    assert done.code == 1
    assert "there is no journal; name the output folder of edgeseq watch" in done.err


@pytest.mark.parametrize(
    ("state", "age", "process", "trouble"),
    [
        ("running", 3.0, 7, ""),
        ("ended", 9e5, None, ""),
        ("running", 400.0, 7, "process 7 lives, but has not written its status for 7 min"),
        ("stalled", 3.0, 7, "it hangs"),
        ("running", 3.0, None, "the daemon is not running and did not end in good order"),
    ],
)
def test_what_somebody_has_to_look_at(state: str, age: float, process: int | None, trouble: str) -> None:
    found = Standing({"state": state, "why": "it hangs"}, age, process, 0)
    assert found.trouble.partition(";")[0] == trouble


def test_durations() -> None:
    assert [duration(seconds) for seconds in (3, 600, 9000, 200_000)] == ["3 s", "10 min", "2.5 h", "2.3 days"]
