"""Runs that are written again: the same reads, in their time, in files that grow."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgeseq import open_reads
from edgeseq.errors import ReadError
from edgeseq.read import Read
from edgeseq.replay.growing import STYLES, GrowingFile, Style
from edgeseq.replay.player import Manner, Player
from edgeseq.replay.timeline import ended, timeline

if TYPE_CHECKING:
    from conftest import RunEdgeseq


def record(name: str, second: int, length: int = 400, quality: str = "I") -> bytes:
    time = f" start_time=2026-01-01T00:00:{second:02d}Z" if second >= 0 else ""
    return f"@{name}{time}\n{'ACGT' * (length // 4)}\n+\n{quality * length}\n".encode()


def fail(error: ReadError) -> None:
    """For runs without damage."""
    raise error


def place(path: Path, *records: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(records))


class Clock:
    """A clock that moves only while somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two barcodes; the second one's reads fall between those of the first."""
    place(tmp_path / "run/fastq_pass/barcode01/a_0.fastq", record("r1", 1), record("r3", 3))
    place(tmp_path / "run/fastq_pass/barcode01/a_1.fastq", record("r5", 5))
    place(tmp_path / "run/fastq_pass/barcode02/b_0.fastq.gz", gzip.compress(record("r2", 2) + record("r4", 4)))
    place(tmp_path / "run/final_summary_a.txt", b"done\n")
    return tmp_path / "run"


def test_a_read_is_due_when_it_has_left_its_pore(run: Path) -> None:
    dues = list(timeline([run], fail))
    assert [(due.seconds, due.stem, due.record.split()[0]) for due in dues] == [
        (0.0, "fastq_pass/barcode01/a", b"@r1"),
        (1.0, "fastq_pass/barcode02/b", b"@r2"),
        (2.0, "fastq_pass/barcode01/a", b"@r3"),
        (3.0, "fastq_pass/barcode02/b", b"@r4"),
        (4.0, "fastq_pass/barcode01/a", b"@r5"),
    ]
    assert ended(Read("x", b"A" * 800, description=b"start_time=1970-01-01T00:00:10Z")) == 12.0
    assert ended(Read("x", b"A" * 800)) is None


def test_without_times_files_take_turns_at_a_rate(tmp_path: Path) -> None:
    place(tmp_path / "run/a.fastq", record("a1", -1, 800), record("a2", -1))
    place(tmp_path / "run/b.fastq", record("b1", -1), record("b2", -1))
    dues = list(timeline([tmp_path / "run"], fail, rate=400.0))
    assert [(due.seconds, due.record[1:3]) for due in dues] == [(2.0, b"a1"), (3.0, b"b1"), (4.0, b"b2"), (5.0, b"a2")]


def test_files_grow_by_the_clock_and_end_after_so_many_reads(run: Path, tmp_path: Path) -> None:
    clock = Clock()
    seen: list[tuple[float, int]] = []
    player = Player(tmp_path / "live", Manner("plain", flush=0.5, rotate_reads=2), pause=clock.wait, clock=clock)

    def look(_: object) -> None:
        seen.append((clock.now - 100.0, sum(len(p.read_bytes()) for p in (tmp_path / "live").rglob("*.fastq"))))

    written = player.play(timeline([run], fail), look)
    size = len(record("r1", 1))
    assert dict(seen)[0.5] == size
    assert dict(seen)[1.5] == 2 * size
    assert (written.reads, written.files, written.late) == (5, 3, 0.0)
    assert sorted(path.name for path in (tmp_path / "live").rglob("*.fastq")) == [
        "a_0.fastq",
        "a_1.fastq",
        "b_0.fastq",
    ]


@pytest.mark.parametrize("style", STYLES)
def test_every_style_ends_with_the_same_reads(style: Style, tmp_path: Path) -> None:
    path = tmp_path / ("a.fastq" if style == "plain" else "a.fastq.gz")
    file = GrowingFile(path, style)
    file.write(record("r1", 1))
    file.flush()
    assert path.exists() != (style == "rename")
    hidden = tmp_path / ".a.fastq.gz.part"
    so_far = (hidden if style == "rename" else path).read_bytes()
    shown = so_far if style == "plain" else zlib.decompressobj(31).decompress(so_far)
    assert shown == record("r1", 1)
    file.write(record("r2", 2))
    file.close()
    assert [read.id for read in open_reads(path)] == ["r1", "r2"]
    assert not hidden.exists()


def test_a_file_that_nobody_completes_is_cut(tmp_path: Path) -> None:
    file = GrowingFile(tmp_path / "a.fastq.gz", "append")
    file.write(record("r1", 1))
    file.flush()
    file.abandon()
    found: list[str] = []
    with pytest.raises(ReadError):
        found.extend(read.id for read in open_reads(tmp_path / "a.fastq.gz"))


def test_the_command_writes_all_reads_and_the_summary(run: Path, tmp_path: Path, run_edgeseq: RunEdgeseq) -> None:
    ended_well = run_edgeseq("replay", run, "--to", tmp_path / "live", "--speed", "100")
    assert ended_well.code == 0, ended_well.err
    assert "5 reads, 2,000 bases in 2 files" in ended_well.err
    assert sorted(read.id for read in open_reads(tmp_path / "live")) == ["r1", "r2", "r3", "r4", "r5"]
    assert (tmp_path / "live/final_summary_a.txt").read_bytes() == b"done\n"


def test_a_damaged_file_is_named_and_the_others_are_played(run: Path, tmp_path: Path, run_edgeseq: RunEdgeseq) -> None:
    place(run / "fastq_pass/barcode03/c_0.fastq", record("r6", 6), b"@cut\nACGT\n+\nI")
    ended_badly = run_edgeseq("replay", run, "--to", tmp_path / "live", "--speed", "100")
    assert ended_badly.code == 1
    assert "c_0.fastq: record 2" in ended_badly.err
    assert len(list(open_reads(tmp_path / "live"))) == 6


def test_folders_that_would_be_overwritten_are_refused(run: Path, tmp_path: Path, run_edgeseq: RunEdgeseq) -> None:
    assert "is not empty; name a new folder" in run_edgeseq("replay", run, "--to", run / "fastq_pass").err
    assert "lies inside the run" in run_edgeseq("replay", run, "--to", run / "live").err
