"""Whatever is done to the bytes of real files, reads come out, then a clean end or a `ReadError`: nothing else."""

from __future__ import annotations

import gzip
import io
import random
import signal
import types
from typing import BinaryIO

import pytest
from conftest import Shared
from made_reads import bam, drip, fasta, fastq, first_records, members, wrapped_fastq

from edgeseq.errors import FormatError, NotReadsError, ReadError, TruncatedError
from edgeseq.reads import open_reads

SECONDS = 20
JUNK = [b"\n", b"@", b"+", b">", b"\0", b"\t", b"\r\n", b"\x1f\x8b", b"\xff" * 4, b"BAM\1"]


@pytest.fixture(scope="module")
def originals(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The first reads of real files in every format, small enough for thousands of runs."""
    folder = tmp_path_factory.mktemp("fuzz")
    made = []
    for name in ("sars-cov-2/MT007544.fastq.gz", "rabies/FAY42760_pass_barcode01_3.fastq.gz", "mpox/mpox_ubam_dev.bam"):
        records = [(h, s[:200], q[:200]) for h, s, q in first_records(shared / f"data/reads/{name}", 30)]
        text = fastq(records)
        binary = bam(folder / "x.bam", records).read_bytes()
        sam = bam(folder / "x.sam", records, text=True).read_bytes()
        made += [text, fastq(records, b"\r\n"), wrapped_fastq(records, 70), fasta(records), sam]
        made += [gzip.compress(text), members(text, 30), binary, gzip.decompress(binary), gzip.compress(sam)]
    return made


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes flipped, deleted, inserted, cut off, overwritten or doubled."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at = rng.randrange(len(out) + 1)
        size = rng.choice([1, 1, 2, 4, 50, 500])
        kind = rng.randrange(7)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at : at + size]
        elif kind == 2:
            out[at:at] = rng.randbytes(size)
        elif kind == 3:
            out[at:at] = rng.choice(JUNK)
        elif kind == 4:
            del out[at:]
        elif kind == 5:
            out[at : at + size] = rng.randbytes(size)
        else:
            out[at:at] = out[at : at + size]
    return bytes(out)


def run(source: BinaryIO) -> tuple[list[tuple[str, bytes, bytes, int, int]], ReadError | None]:
    """What comes out, checked for what must hold of every read, and the error that it ends with."""
    found: list[tuple[str, bytes, bytes, int, int]] = []
    end: ReadError | None = None
    try:
        for read in open_reads(source):
            assert not read.quality or len(read.quality) == len(read.sequence)
            assert read.header.tags is not None
            found.append((read.id, read.sequence, read.quality, read.record, read.offset))
    except ReadError as error:
        end = error
    assert end is None or end.record >= len(found)
    return found, end


def fuzz(originals: list[bytes], count: int, seed: int) -> None:
    rng = random.Random(seed)

    def hang(_: int, __: types.FrameType | None) -> None:
        raise AssertionError("the reader hangs")

    before = signal.signal(signal.SIGALRM, hang)
    endings = set()
    try:
        for _ in range(count):
            data = mutated(rng.choice(originals), rng)
            signal.alarm(SECONDS)
            found, error = run(io.BytesIO(data))
            if rng.random() < 0.2:
                again, other = run(drip(data, rng.randrange(99), most=700))
                assert again == found[: len(again)]
                if not data.startswith(b"\x1f"):
                    assert (again, type(other)) == (found, type(error))
            endings.add(type(error))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    expected = {type(None), FormatError, TruncatedError}
    assert expected <= endings <= {*expected, NotReadsError}


def test_mutated_files(originals: list[bytes]) -> None:
    fuzz(originals, 500, seed=1)


@pytest.mark.slow
def test_many_mutated_files(originals: list[bytes]) -> None:
    fuzz(originals, 10_000, seed=2)


def test_random_bytes() -> None:
    rng = random.Random(4)
    for _ in range(300):
        start = rng.choice([b"", b"@", b">", b"@r\n", b"BAM\1", b"\x1f\x8b\x08\0", b"@HD\tVN:1.6\n"])
        run(io.BytesIO(start + rng.randbytes(rng.randrange(300))))
