"""What it costs to look at a run: first paint of the page in real Chromium, snapshots, and counting in the daemon.

    python benchmarks/page.py [--reads 100000] [--barcodes 24] [--visits 12]

Made-up calls of the embedded panel fill a journal as the daemon writes it; then a daemon starts over that journal and
serves the page on loopback, and a browser comes several times, each time without a cache.

restore    what a start takes for the journal that is there
counting   what the daemon's thread spends for a transaction of 250 new reads in all barcodes
snapshot   everything that the page shows, with new reads in all barcodes; as JSON
paint      from the browser's request to its first contentful paint
Exits with 1 where the slowest paint takes a second or more. Needs playwright and Chromium.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from edgeseq.prediction import UNCLASSIFIED
from edgeseq.scorer import Scorer, load
from edgeseq.watch.alerts import Alerts, AlertSettings
from edgeseq.watch.answers import Questions
from edgeseq.watch.daemon import Daemon
from edgeseq.watch.journal import Entry, Journal, Row
from edgeseq.watch.live import Live
from edgeseq.watch.page.server import Page
from edgeseq.watch.page.settings import PageSettings

LOT = 1000
PAINT = "performance.getEntriesByName('first-contentful-paint').map(entry => entry.startTime)[0]"


def made_rows(scorer: Scorer, first: int, count: int, barcodes: int, rng: np.random.Generator) -> list[Row]:
    """Calls that are mostly background, a fifth of one class in every third barcode, and a few of all others."""
    labels = [*scorer.manifest.task.labels, UNCLASSIFIED]
    rows = []
    for number in range(first, first + count):
        barcode = int(rng.integers(barcodes))
        shares = np.full(len(labels), 0.0002)
        shares[labels.index(scorer.manifest.task.background)] = 0.85
        shares[-1] = 0.1
        shares[0] = 0.2 * (barcode % 3 == 1)
        label = str(rng.choice(labels, p=shares / shares.sum()))
        reason = "score" if label == UNCLASSIFIED else ""
        place = ("run", f"{number:08x}", "", number, int(rng.gamma(2, 1000)) + 200)
        rows.append(Row(*place, label, 0.9, label, reason, 3, 0.0, ".", f"barcode{barcode + 1:02d}"))
    return rows


def main() -> int:
    """1 where the page is slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reads", type=int, default=100_000)
    parser.add_argument("--barcodes", type=int, default=24)
    parser.add_argument("--visits", type=int, default=12)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder, load(None, threads=1) as scorer:
        out = Path(folder, "out")
        journal = Journal(out, {"bundle": scorer.bundle.sha256, "roots": folder})
        source = journal.add_source(folder, "made.fastq", 1, 1, 10, "x")
        for first in range(0, options.reads, LOT):
            rows = made_rows(scorer, first, LOT, options.barcodes, rng)
            journal.commit([Entry(source.id, first, first + LOT, rows, scorer.bundle.sha256)])
        daemon = Daemon([folder], scorer, journal)
        began = time.perf_counter()
        live = Live(daemon, journal, Questions(), Alerts(AlertSettings(log=False), journal))
        print(f"restore   {time.perf_counter() - began:.2f} s for {options.reads:,} reads, {options.barcodes} barcodes")
        live.start()
        measure_work(live, made_rows(scorer, options.reads, 250, options.barcodes, rng))
        page = Page(live, PageSettings(port=0))
        page.start()
        paints = visits(page.address, options.visits)
        page.close()
        live.close()
        journal.close()
    print(f"paint     median {statistics.median(paints):.0f} ms, slowest {max(paints):.0f} ms, {len(paints)} visits")
    return int(max(paints) >= 1000)


def measure_work(live: Live, rows: list[Row]) -> None:
    """Prints what the daemon's thread and a snapshot cost."""
    counting, snapshots = [], []
    for _ in range(10):
        began = time.perf_counter()
        live.listen(rows)
        counting.append(time.perf_counter() - began)
        began = time.perf_counter()
        told = live.snapshot(0.0)
        snapshots.append(time.perf_counter() - began)
    print(f"counting  median {1000 * statistics.median(counting):.1f} ms for a transaction of {len(rows)} reads")
    size = len(json.dumps(told)) / 1000
    print(f"snapshot  median {1000 * statistics.median(snapshots):.0f} ms, {size:.0f} kB")


def visits(address: str, count: int) -> list[float]:
    """Milliseconds to the first contentful paint of each visit."""
    path = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    paints = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for _ in range(count):
            context = browser.new_context()
            view = context.new_page()
            view.goto(address, wait_until="load")
            while (paint := view.evaluate(PAINT)) is None:
                view.wait_for_timeout(50)
            paints.append(float(paint))
            context.close()
        browser.close()
    return paints


if __name__ == "__main__":
    sys.exit(main())
