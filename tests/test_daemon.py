"""The daemon: every read scored once, whatever happens to the files, the disk, or the daemon."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sequencer import Job, Sequencer, names, records, run_folder

from edgeseq.scorer import load
from edgeseq.watch.daemon import Daemon
from edgeseq.watch.journal import NAME, Journal, JournalError
from edgeseq.watch.journal_reader import JournalReader
from edgeseq.watch.load import SKIPPED, Limits

if TYPE_CHECKING:
    from conftest import RunEdgeseq

READS = records(400)


def watched(roots: Path, out: Path, bundle: Path, **settings: Any) -> Daemon:
    """Watches until nothing is new for a second."""
    with load(bundle, threads=1) as scorer:
        journal = Journal(out, {"bundle": scorer.bundle.sha256})
        settings = {"until_idle": 1.0, "interval": 0.02, "commit": 0.05, **settings}
        daemon = Daemon([str(roots)], scorer, journal, **settings)
        daemon.run()
        journal.close()
    return daemon


@contextmanager
def watching(root: Path, out: Path, bundle: Path) -> Iterator[Daemon]:
    """A daemon at work; it is stopped in good order at the end."""
    with load(bundle, threads=1) as scorer:
        journal = Journal(out, {"bundle": scorer.bundle.sha256})
        daemon = Daemon([str(root)], scorer, journal, interval=0.02, commit=0.05)
        thread = threading.Thread(target=daemon.run)
        thread.start()
        try:
            yield daemon
        finally:
            daemon.stop()
            thread.join()
            journal.close()


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Waits for something that has to happen."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def scored(out: Path) -> list[str]:
    """The ids of the reads in the journal."""
    reader = JournalReader(out)
    ids = [str(row[0]) for row in reader.rows()]
    reader.close()
    return ids


def stored(out: Path) -> int:
    """How many reads a daemon in another process has stored, which may not even have begun its journal."""
    try:
        return len(scored(out))
    except JournalError:
        return 0


def write(jobs: list[Job]) -> None:
    for job in jobs:
        job.path.parent.mkdir(parents=True, exist_ok=True)
        job.path.write_bytes(job.data)


@pytest.mark.parametrize("compressed", [False, True])
def test_rows_equal_those_of_score(
    tmp_path: Path, bundle_path: Path, run_edgeseq: RunEdgeseq, compressed: bool
) -> None:
    run = tmp_path / "run"
    sequencer = Sequencer(run_folder(run, READS, compressed=compressed), pause=0.002)
    sequencer.start()
    watched(run, tmp_path / "out", bundle_path)
    sequencer.join()
    run_edgeseq("score", run, "-m", bundle_path, "-o", tmp_path / "clean.tsv")
    clean = {tuple(line.split("\t")) for line in (tmp_path / "clean.tsv").read_text().splitlines()[1:]}
    reader = JournalReader(tmp_path / "out")
    found = [
        (
            *map(str, row[:4]),
            f"{row[4]:.4f}",
            *(str(value) or "." for value in row[5:8]),
            f"{row[8]:.4f}",
            *(str(value) or "." for value in row[9:11]),
        )
        for row in reader.rows()
    ]
    assert len(found) == len(READS)
    assert set(found) == clean


def test_gzip_cut_at_every_thousandth_byte_and_then_completed(tmp_path: Path, bundle_path: Path) -> None:
    (job,) = run_folder(tmp_path / "run", READS[:100], files=1)
    job.path.parent.mkdir(parents=True)
    with watching(tmp_path / "run", tmp_path / "out", bundle_path) as daemon:
        for start in range(0, len(job.data), 1000):
            with job.path.open("ab") as file:
                file.write(job.data[start : start + 1000])
            until(lambda: daemon.files.backlog == 0)
        until(lambda: daemon.progress.reads == 100)
    assert scored(tmp_path / "out") == names(READS[:100])


def test_a_copy_of_a_file_adds_nothing_and_is_counted(tmp_path: Path, bundle_path: Path) -> None:
    jobs = run_folder(tmp_path / "run", READS[:60], files=2)
    write([*jobs, Job(tmp_path / "run" / "copy" / "again.fastq.gz", jobs[0].data)])
    daemon = watched(tmp_path / "run", tmp_path / "out", bundle_path)
    assert sorted(scored(tmp_path / "out")) == sorted(names(READS[:60]))
    assert daemon.progress.duplicates == 30


def test_a_second_run_of_the_daemon_adds_nothing_and_counts_no_copies(tmp_path: Path, bundle_path: Path) -> None:
    write(run_folder(tmp_path / "run", READS[:60]))
    watched(tmp_path / "run", tmp_path / "out", bundle_path)
    again = watched(tmp_path / "run", tmp_path / "out", bundle_path)
    assert (again.progress.reads, again.progress.duplicates) == (0, 0)
    assert again.tallies.whole().reads == 60


def test_a_file_that_is_renamed_while_it_grows(tmp_path: Path, bundle_path: Path) -> None:
    (job,) = run_folder(tmp_path / "run", READS[:50], files=1)
    job.path.parent.mkdir(parents=True)
    half = len(job.data) // 2
    with watching(tmp_path / "run", tmp_path / "out", bundle_path) as daemon:
        job.path.write_bytes(job.data[:half])
        until(lambda: any(daemon.files) and daemon.files.backlog == 0)
        renamed = job.path.with_name("renamed.fastq.gz")
        job.path.rename(renamed)
        with renamed.open("ab") as file:
            file.write(job.data[half:])
        until(lambda: daemon.progress.reads == 50)
    assert scored(tmp_path / "out") == names(READS[:50])
    assert daemon.progress.duplicates == 0


def test_rsync_writes_under_a_hidden_name_and_renames(tmp_path: Path, bundle_path: Path) -> None:
    (job,) = run_folder(tmp_path / "run", READS[:50], files=1)
    job.path.parent.mkdir(parents=True)
    hidden = job.path.with_name(f".{job.path.name}.Xy12ab")
    with watching(tmp_path / "run", tmp_path / "out", bundle_path) as daemon:
        hidden.write_bytes(job.data[: len(job.data) // 2])
        time.sleep(0.2)
        assert not any(daemon.files)
        with hidden.open("ab") as file:
            file.write(job.data[len(job.data) // 2 :])
        hidden.rename(job.path)
        until(lambda: daemon.progress.reads == 50)
    assert scored(tmp_path / "out") == names(READS[:50])


def test_a_file_that_is_replaced_is_read_again_and_nothing_is_scored_twice(tmp_path: Path, bundle_path: Path) -> None:
    path = tmp_path / "run" / "a.fastq"
    path.parent.mkdir()
    path.write_bytes(b"".join(READS[:20]))
    with watching(tmp_path / "run", tmp_path / "out", bundle_path) as daemon:
        until(lambda: daemon.progress.reads == 20)
        path.write_bytes(b"".join(READS[30:35]))
        until(lambda: daemon.progress.reads == 25)
        path.write_bytes(b"".join(READS[15:25]))
        until(lambda: daemon.progress.reads == 30)
    assert scored(tmp_path / "out") == names([*READS[:20], *READS[30:35], *READS[20:25]])


def test_a_folder_that_goes_away_and_comes_back(tmp_path: Path, bundle_path: Path) -> None:
    run = tmp_path / "run"
    jobs = run_folder(run, READS[:60])
    write(jobs[:3])
    with watching(run, tmp_path / "out", bundle_path) as daemon:
        until(lambda: daemon.progress.reads == 30)
        run.rename(tmp_path / "away")
        until(lambda: not any(daemon.files))
        write(jobs)
        until(lambda: daemon.progress.reads == 60)
    assert sorted(scored(tmp_path / "out")) == sorted(names(READS[:60]))
    assert daemon.progress.duplicates == 0


def test_a_corrupt_file_is_reported_once_and_the_others_go_on(tmp_path: Path, bundle_path: Path) -> None:
    jobs = run_folder(tmp_path / "run", READS[:200], files=3)
    bad = bytearray(jobs[1].data)
    bad[len(bad) // 2 : len(bad) // 2 + 50] = bytes(50)
    write([jobs[0], Job(jobs[1].path, bytes(bad)), jobs[2]])
    watched(tmp_path / "run", tmp_path / "out", bundle_path)
    watched(tmp_path / "run", tmp_path / "out", bundle_path)
    reader = JournalReader(tmp_path / "out")
    events = [(kind, subject) for _, _, kind, subject, _ in reader.events()]
    assert events == [("damaged file", str(jobs[1].path))]
    found = set(scored(tmp_path / "out"))
    assert set(names(READS[:200][0::3])) | set(names(READS[:200][2::3])) <= found


def test_mixed_header_dialects_and_reads_without_a_run(tmp_path: Path, bundle_path: Path) -> None:
    lines = [
        "@a runid=0123456789abcdef0123456789abcdef01234567 sampleid=s read=1 ch=2 start_time=2020-01-01T00:00:00Z",
        "@b ch=3 barcode=barcode05 barcode= runid=5c9d1a2e-6d4f-4a60-9f3a-111111111111",
        "@c",
        "@d\tst:Z:2024-01-01T00:00:00.000+00:00\tRG:Z:0123456789abcdef0123456789abcdef01234567_dna_r10@v4.3.0\tch:i:5",
        "@SRR1.1 1 length=12",
        "@a",
    ]
    path = tmp_path / "run" / "a.fastq"
    path.parent.mkdir()
    path.write_text("".join(f"{line}\nACGTACGTACGT\n+\nIIIIIIIIIIII\n" for line in lines))
    watched(tmp_path / "run", tmp_path / "out", bundle_path)
    assert scored(tmp_path / "out") == ["a", "b", "c", "d", "SRR1.1", "a"]  # the last one is of no run, so another read


def test_its_own_output_is_not_read(tmp_path: Path, bundle_path: Path) -> None:
    run = tmp_path / "run"
    write(run_folder(run, READS[:30]))
    out = run / "edgeseq"
    out.mkdir()
    (out / ".edgeseq-output").touch()
    (out / "old.fastq").write_bytes(b"".join(READS[100:110]))
    watched(run, out, bundle_path)
    assert sorted(scored(out)) == sorted(names(READS[:30]))


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    Journal(tmp_path, {"bundle": "one"}).close()
    with pytest.raises(JournalError, match="was begun with other settings: bundle was one, is two"):
        Journal(tmp_path, {"bundle": "two"})


def test_a_full_disk_waits_and_goes_on(tmp_path: Path, bundle_path: Path) -> None:
    write(run_folder(tmp_path / "run", READS, compressed=False))
    with load(bundle_path, threads=1) as scorer:
        journal = Journal(tmp_path / "out", {})
        (pages,) = journal._db.execute("PRAGMA page_count").fetchone()
        journal._db.execute(f"PRAGMA max_page_count = {pages + 12}")
        daemon = Daemon([str(tmp_path / "run")], scorer, journal, until_idle=1.0, interval=0.02, commit=0.05)
        thread = threading.Thread(target=daemon.run)
        thread.start()
        until(lambda: "full" in daemon.progress.trouble)
        assert "make room on the disk" in daemon.progress.trouble
        journal._db.execute("PRAGMA max_page_count = 100000")
        thread.join()
        journal.close()
    assert daemon.progress.trouble == ""
    assert sorted(scored(tmp_path / "out")) == sorted(names(READS))


def test_what_is_not_scored_for_want_of_time_has_a_row_that_says_so(tmp_path: Path, bundle_path: Path) -> None:
    path = tmp_path / "run" / "a.fastq"
    path.parent.mkdir()
    limits = Limits(prefix_after=0.0, sample_after=0.0, prefix_bases=100, one_in=4)
    path.write_bytes(b"")
    with load(bundle_path, threads=1) as scorer:
        journal = Journal(tmp_path / "out", {})
        daemon = Daemon([str(tmp_path / "run")], scorer, journal, limits=limits, until_idle=1.0, interval=0.02)
        thread = threading.Thread(target=daemon.run)
        thread.start()
        until(lambda: any(daemon.files))
        path.write_bytes(b"".join(READS[:100]))
        thread.join()
        journal.close()
    rows = list(JournalReader(tmp_path / "out").rows())
    assert [row[0] for row in rows] == names(READS[:100])
    skipped = [row for row in rows if row[6] == SKIPPED]
    assert len(skipped) == daemon.load.skipped == 75
    assert daemon.load.shortened > 0


def start(run: Path, out: Path, bundle: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "edgeseq", "watch", str(run), "--out", str(out), "-m", str(bundle)]
    return subprocess.Popen([*argv, "--until-idle", "2", "--threads", "1"], stderr=subprocess.PIPE)


def test_sigterm_ends_in_good_order(tmp_path: Path, bundle_path: Path) -> None:
    write(run_folder(tmp_path / "run", READS[:60]))
    process = start(tmp_path / "run", tmp_path / "out", bundle_path)
    until(lambda: stored(tmp_path / "out") == 60)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert b"60 reads" in said


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_fifty_times_at_random_moments(tmp_path: Path, bundle_path: Path) -> None:
    reads = records(6000)
    sequencer = Sequencer(run_folder(tmp_path / "run", reads, files=9), steps=60, pause=0.1)
    (tmp_path / "run").mkdir()
    sequencer.start()
    chance = random.Random(7)
    kills = 0
    while kills < 50:
        process = start(tmp_path / "run", tmp_path / "out", bundle_path)
        try:
            process.wait(chance.uniform(0.3, 1.6))
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        process.communicate()
    sequencer.join()
    process = start(tmp_path / "run", tmp_path / "out", bundle_path)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    found = scored(tmp_path / "out")
    assert len(found) == len(reads)
    assert sorted(found) == sorted(names(reads))
    database = sqlite3.connect(tmp_path / "out" / NAME)
    assert database.execute("SELECT sum(duplicates) FROM sources").fetchone() == (0,)


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="a disk of 20 MB needs the right to mount"
)
def test_a_disk_of_twenty_megabytes_that_is_freed_later(tmp_path: Path, bundle_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this machine does not let anybody mount a disk")
    try:
        (disk / "ballast").write_bytes(bytes(19_700_000))
        write(run_folder(tmp_path / "run", records(5000)))
        process = start(tmp_path / "run", disk / "out", bundle_path)
        time.sleep(8)
        assert process.poll() is None
        (disk / "ballast").unlink()
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert len(scored(disk / "out")) == 5000
    finally:
        subprocess.run(["umount", str(disk)], check=False)
