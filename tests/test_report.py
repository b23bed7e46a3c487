"""`edgeseq report`: one HTML file that needs nothing else, and tables that MultiQC reads."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from living import living

from edgeseq.watch.answers import Questions
from edgeseq.watch.charts import Palette, over_time, strip
from edgeseq.watch.report import read_run

if TYPE_CHECKING:
    from conftest import RunEdgeseq

EVIL = '<img src=x onerror="alert(1)">'


@pytest.fixture
def out(tmp_path: Path, bundle_path: Path) -> Path:
    """A finished run."""
    folder = tmp_path / "out"
    with living(folder, bundle_path, Questions(control="barcode04")) as run:
        run.score("barcode01", a=50, other=50)
        run.score("barcode02", other=7)
        run.score("barcode03", reason="short", unclassified=3)
        run.score("barcode04", other=90, b=1)
        run.score(EVIL, other=2)
    return folder


class Reader(HTMLParser):
    """Words, tags and attributes of a page; raises where a tag is not closed."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words += data.split()


def test_one_file_that_needs_nothing_else(out: Path, tmp_path: Path, run_edgeseq: RunEdgeseq) -> None:
    path = tmp_path / "report.html"
    assert run_edgeseq("report", out, "-o", path).code == 0
    text = path.read_text(encoding="utf-8")
    page = Reader(text)
    assert not {"script", "img", "link", "iframe", "object"} & set(page.tags)
    assert not [value for name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert re.findall(r"https?://|url\(|@import", text) == []
    assert "default-src 'none'" in text
    assert not list(tmp_path.glob("*.partial"))


def test_the_three_answers_are_in_words(out: Path, tmp_path: Path, run_edgeseq: RunEdgeseq) -> None:
    run_edgeseq("report", out, "-o", tmp_path / "report.html")
    page = Reader((tmp_path / "report.html").read_text(encoding="utf-8"))
    words = " ".join(page.words)
    assert "Detected: a a detected in barcode01" in words
    assert "barcode01 100 100,000 a detected" in words
    assert "barcode02 7 7,000 nothing detected at 7 reads" in words
    assert "barcode03 3 3,000 no data yet" in words
    assert "barcode04 91 91,000 control: nothing detected at 91 reads" in words
    assert "Never called, not detected at 7 reads: a, b." in words
    assert "in 1 % of runs at most, over all 2 classes, 96 barcodes" in words
    assert "The negative control is barcode04" in words
    assert EVIL in words
    assert "short 3" in words


def test_a_run_without_a_status_file_has_its_counts(out: Path, tmp_path: Path, run_edgeseq: RunEdgeseq) -> None:
    (out / "status.json").unlink()
    assert run_edgeseq("report", out, "-o", tmp_path / "report.html", "--multiqc", tmp_path / "qc").code == 0
    words = " ".join(Reader((tmp_path / "report.html").read_text(encoding="utf-8")).words)
    assert "No answers yet" in words
    assert "barcode01 100 100,000 no answer yet" in words
    assert "detected in" not in words


def test_an_empty_run(tmp_path: Path, bundle_path: Path, run_edgeseq: RunEdgeseq) -> None:
    with living(tmp_path / "out", bundle_path):
        pass
    assert run_edgeseq("report", tmp_path / "out", "-o", tmp_path / "report.html").code == 0
    assert "No data yet" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_multiqc_files(out: Path, tmp_path: Path, run_edgeseq: RunEdgeseq) -> None:
    done = run_edgeseq("report", out, "--multiqc", tmp_path / "qc")
    names = ["edgeseq_answers_mqc.tsv", "edgeseq_calls_mqc.json", "edgeseq_general_mqc.json"]
    assert (done.code, sorted(path.name for path in (tmp_path / "qc").iterdir())) == (0, names)
    calls = json.loads((tmp_path / "qc" / "edgeseq_calls_mqc.json").read_text())
    assert calls["data"]["barcode01"] == {"a": 50, "other": 50}
    general = json.loads((tmp_path / "qc" / "edgeseq_general_mqc.json").read_text())
    assert general["data"]["barcode01"]["edgeseq_detected"] == "a"
    assert general["data"]["barcode02"]["edgeseq_detected"] == "nothing detected at 7 reads"
    assert general["data"]["barcode03"]["edgeseq_detected"] == "no data yet"
    assert general["data"]["barcode04"]["edgeseq_detected"] == "control: nothing detected at 91 reads"
    lines = (tmp_path / "qc" / "edgeseq_answers_mqc.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert {len(row) for row in rows} == {9}
    assert rows[1][:6] == ["barcode01 a", "barcode01", "a", "detected", "50", "100"]
    assert rows[2][:6] == ["barcode04 b", "barcode04", "b", "control: not detected", "1", "91"]


@pytest.mark.slow
def test_multiqc_itself_reads_them(out: Path, tmp_path: Path, run_edgeseq: RunEdgeseq) -> None:
    multiqc = shutil.which("multiqc")
    if multiqc is None:
        pytest.skip("MultiQC is not installed: pip install multiqc")
    run_edgeseq("report", out, "--multiqc", tmp_path / "qc")
    said = subprocess.run(
        [multiqc, ".", "--no-ansi", "--no-version-check"],
        cwd=tmp_path / "qc",
        capture_output=True,
        text=True,
        check=True,
    )
    for name in ("edgeseq_answers", "edgeseq_calls", "edgeseq_general"):
        assert name in said.stdout + said.stderr
    assert (tmp_path / "qc" / "multiqc_report.html").exists()


def test_something_has_to_be_written(out: Path, run_edgeseq: RunEdgeseq) -> None:
    done = run_edgeseq("report", out)
    assert done.code == 2
    assert "-o FILE.html, --multiqc DIR, or both" in done.err


def test_a_report_that_cannot_be_written(out: Path, tmp_path: Path, run_edgeseq: RunEdgeseq) -> None:
    done = run_edgeseq("report", out, "-o", tmp_path / "nowhere" / "report.html")
    assert done.code == 1
    assert "nowhere/report.html: cannot be written: No such file or directory" in done.err


def test_a_report_may_be_made_while_the_run_goes_on(tmp_path: Path, bundle_path: Path) -> None:
    with living(tmp_path, bundle_path) as run:
        run.score("barcode01", a=5)
        before = read_run(tmp_path).tallies.whole().reads
        run.score("barcode01", a=5)
        assert (before, read_run(tmp_path).tallies.whole().reads) == (5, 10)


def test_bars_add_up() -> None:
    palette = Palette(["a", "other", "b"], "other")
    widths = [float(width) for width in re.findall(r'width="([0-9.]+)"', strip({"other": 2, "b": 1, "a": 1}, palette))]
    assert widths == [25.0, 25.0, 50.0]
    assert palette.ordered(["unclassified", "other", "…", "a"]) == ["a", "…", "other", "unclassified"]
    heights = [float(v) for v in re.findall(r"v([0-9.]+)h", over_time({"a": [1, 0], "b": [3, 0]}, 0.0, 10.0, palette))]
    assert heights == [38.0, 114.0]
