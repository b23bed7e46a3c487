"""A run of ``edgeseq watch`` and everything that can be changed while it goes on."""

from __future__ import annotations

import fcntl
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sequencer import Sequencer, names, records, run_folder
from test_daemon import READS, scored, stored, until, write
from test_switch import by_bundle, labels
from tiny_bundle import tiny_bundle
from tiny_outputs import tiny_output

from edgeseq.bundle import read_bundle
from edgeseq.errors import UsageError
from edgeseq.scorer import load
from edgeseq.watch.config import read_configuration
from edgeseq.watch.daemon import Daemon
from edgeseq.watch.journal import NAME, Journal, JournalError
from edgeseq.watch.journal_reader import JournalReader
from edgeseq.watch.load import Limits
from edgeseq.watch.notify import Notifier
from edgeseq.watch.pidfile import PidFile, holder
from edgeseq.watch.room import ROW, Disk, Room
from edgeseq.watch.station import Station

Run = Callable[..., Any]


@pytest.fixture
def panel(tmp_path: Path) -> Path:
    """A link to the first of two bundles; the other one, ``two.edgeseq``, likes other bases."""
    tiny_bundle(tmp_path / "one.edgeseq")
    tiny_bundle(tmp_path / "two.edgeseq", labels=("b", "a", "other"))
    link = tmp_path / "panel.edgeseq"
    link.symlink_to("one.edgeseq")
    return link


@pytest.fixture
def config(tmp_path: Path, panel: Path) -> Path:
    """A configuration that watches ``run`` and writes to ``out``."""
    (tmp_path / "run").mkdir()
    return configure(tmp_path)


def configure(folder: Path, more: str = "", folders: str = '["run"]') -> Path:
    path = folder / "run.toml"
    path.write_text(f'folders = {folders}\nout = "out"\nbundle = "panel.edgeseq"\nthreads = 1\n{more}')
    return path


def point(link: Path, name: str) -> None:
    """Moves the link as deploying does."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(name)
    fresh.replace(link)


def sha256(path: Path) -> str:
    return read_bundle(path).sha256


@contextmanager
def running(config: Path, **settings: Any) -> Iterator[Station]:
    """A station at work; it is stopped in good order at the end."""
    station = Station(read_configuration(config), reread=lambda: read_configuration(config), **settings)
    thread = threading.Thread(target=station.run)
    thread.start()
    try:
        yield station
    finally:
        station.stop()
        thread.join()


def events(out: Path) -> list[tuple[str, str, str]]:
    """Kind, subject and text of what happened."""
    reader = JournalReader(out)
    found = [event[2:] for event in reader.events()]
    reader.close()
    return found


def reloaded(station: Station, kind: str) -> tuple[str, str]:
    """Has a station reload; subject and text of the event that follows, which has to be of one kind."""
    before = len(events(station.out))
    station.reload()
    until(lambda: any(event[0].startswith("reload") for event in events(station.out)[before:]))
    (found,) = [event for event in events(station.out)[before:] if event[0].startswith("reload")]
    assert found[0] == kind, found
    return found[1:]


def test_a_new_bundle_behind_the_link_takes_over_and_every_read_is_scored_once(
    tmp_path: Path, config: Path, panel: Path
) -> None:
    reads = records(1500)
    sequencer = Sequencer(run_folder(tmp_path / "run", reads), steps=30, pause=0.02)
    with running(config) as station:
        sequencer.start()
        until(lambda: station.daemon.progress.reads > 100)
        point(panel, "two.edgeseq")
        assert reloaded(station, "reloaded") == ("bundle", "")
        sequencer.join()
        until(lambda: station.daemon.progress.reads == len(reads))
    found = by_bundle(tmp_path / "out")
    assert set(found) == {sha256(tmp_path / "one.edgeseq"), sha256(tmp_path / "two.edgeseq")}
    assert sorted(name for rows in found.values() for name, _ in rows) == sorted(names(reads))
    with running(config):
        pass
    point(panel, "one.edgeseq")
    with pytest.raises(JournalError, match="was begun with other settings: bundle was"):
        Station(read_configuration(config))
    with running(config, switch=True):
        pass
    kept = [event[1] for event in events(tmp_path / "out") if event[0] == "background"]
    assert kept == [sha256(tmp_path / "one.edgeseq"), sha256(tmp_path / "two.edgeseq")]
    changes = [event[1] for event in events(tmp_path / "out") if event[0] == "settings"]
    assert changes == ["bundle", "bundle"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_bundles_take_turns_while_the_daemon_is_killed_at_random_moments(
    tmp_path: Path, config: Path, panel: Path
) -> None:
    reads = records(3000)
    sequencer = Sequencer(run_folder(tmp_path / "run", reads), steps=60, pause=0.1)
    sequencer.start()
    chance = random.Random(5)
    for turn in range(12):
        process = start(config, "--switch")
        with suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.8, 2.5))
        point(panel, ("two.edgeseq", "one.edgeseq")[turn % 2])
        process.send_signal(signal.SIGHUP)
        with suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.0, 0.8))
        process.kill()
        process.communicate()
    sequencer.join()
    configure(tmp_path, "until_idle = 1\n")
    process = start(config, "--switch")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    found = by_bundle(tmp_path / "out")
    assert sorted(name for rows in found.values() for name, _ in rows) == sorted(names(reads))
    assert len(found) == 2
    for bundle in (tmp_path / "one.edgeseq", tmp_path / "two.edgeseq"):
        alone = labels(bundle, tmp_path / "run")
        assert all(alone[name] == label for name, label in found[sha256(bundle)])


def test_a_damaged_bundle_is_refused_and_the_old_one_goes_on(tmp_path: Path, config: Path, panel: Path) -> None:
    whole = (tmp_path / "two.edgeseq").read_bytes()
    (tmp_path / "two.edgeseq").write_bytes(whole[:-1])
    with running(config) as station:
        point(panel, "two.edgeseq")
        assert "panel.edgeseq" in reloaded(station, "reload refused")[1]
        write(run_folder(tmp_path / "run", READS[:30]))
        until(lambda: station.daemon.progress.reads == 30)
        (tmp_path / "two.edgeseq").write_bytes(whole)
        reloaded(station, "reloaded")
    assert set(by_bundle(tmp_path / "out")) == {sha256(tmp_path / "one.edgeseq")}


def test_a_bundle_for_another_task_is_refused(tmp_path: Path, config: Path, panel: Path) -> None:
    tiny_output(tmp_path / "two.edgeseq", np.ones((6, 1), np.float32), kind="regression", pooled=True)
    with running(config) as station:
        point(panel, "two.edgeseq")
        assert "rows of both do not go together" in reloaded(station, "reload refused")[1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("threads = two\n", "run.toml:5: not TOML: Invalid value"),
        ("untill_idle = 3\n", "run.toml:5: untill_idle: unknown key; did you mean until_idle?"),
        ("until_idle = 3\n", "until_idle: was None, is 3.0; this needs a restart"),
        ('[questions]\nclasses = ["mpox"]\n', "questions.classes: tiny has no class 'mpox' to ask about; it has a, b"),
        ('provider = "tpu"\n', "tpu"),
    ],
)
def test_a_configuration_that_cannot_be_taken_over_changes_nothing(
    tmp_path: Path, config: Path, more: str, said: str
) -> None:
    with running(config) as station:
        before = station.configuration
        configure(tmp_path, f"{more}[limits]\none_in = 77\n")
        assert said in reloaded(station, "reload refused")[1]
        assert station.configuration == before
        assert station.daemon.load.limits == Limits()


def test_what_a_reload_takes_over(tmp_path: Path, config: Path) -> None:
    write(run_folder(tmp_path / "more", READS[:30]))
    with running(config) as station:
        configure(
            tmp_path,
            "[limits]\none_in = 5\n[disk]\nmin_free = 0\n[questions]\nalpha = 0.2\n"
            '[alerts]\ncooldown = 1\n[samples]\nbarcode01 = "a"\n',
            '["run", "more"]',
        )
        assert reloaded(station, "reloaded")[0] == "folders, limits, disk, questions, alerts, samples"
        assert station.daemon.load.limits.one_in == 5
        assert station.live.alerts.settings.cooldown == 1.0
        until(lambda: station.daemon.progress.reads == 30)
        assert reloaded(station, "reloaded") == ("", "")
    with running(config) as station:
        assert station.daemon.progress.reads == 0


def ask(address: str, token: str = "") -> int:
    """The status of an answer of the page."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_page_comes_goes_moves_and_takes_another_token(tmp_path: Path, config: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    (tmp_path / "token").chmod(0o600)
    with running(config) as station:
        assert station.page is None
        with socket.create_server(("127.0.0.1", 0)) as taken:
            configure(tmp_path, f"[page]\nport = {taken.getsockname()[1]}\n")
            assert "cannot be listened on" in reloaded(station, "reload refused")[1]
            port = taken.getsockname()[1]
        assert station.page is None
        address = f"http://127.0.0.1:{port}/"
        assert reloaded(station, "reloaded") == ("page", "")
        assert ask(address) == 200
        configure(tmp_path, f'[page]\nport = {port}\ntoken_file = "token"\n')
        reloaded(station, "reloaded")
        assert (ask(address), ask(address, "0123456789abcdef")) == (401, 200)
        configure(tmp_path)
        reloaded(station, "reloaded")
        assert station.page is None
        with pytest.raises(urllib.error.URLError, match="refused"):
            ask(address)


def test_events_are_forgotten_but_for_the_latest(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path, "[disk]\nevents = 100\n")
    monkeypatch.setattr("edgeseq.watch.station.PRUNE", 0.05)
    with running(config) as station:
        for number in range(300):
            station.daemon._journal.note("file replaced", str(number), "")
        until(lambda: [event[0] for event in events(tmp_path / "out")] == ["background", *["file replaced"] * 100])
    assert events(tmp_path / "out")[-1][1] == "299"


def test_one_daemon_for_each_output_folder(tmp_path: Path, config: Path) -> None:
    with running(config):
        assert holder(tmp_path / "out") == os.getpid()
        with pytest.raises(UsageError, match=f"another edgeseq watch writes here, process {os.getpid()}"):
            Station(read_configuration(config))
    assert holder(tmp_path / "out") is None


def test_somebody_who_only_asks_keeps_no_daemon_from_starting(tmp_path: Path) -> None:
    first = PidFile(tmp_path)
    first.close()
    asking = (tmp_path / "watch.pid").open("rb")
    fcntl.flock(asking, fcntl.LOCK_SH)
    timer = threading.Timer(0.2, asking.close)
    timer.start()
    second = PidFile(tmp_path)
    assert holder(tmp_path) == os.getpid()
    second.close()
    timer.join()


def test_fork_keeps_the_old_journal_and_goes_on_in_the_newest_that_fits(
    tmp_path: Path, config: Path, panel: Path
) -> None:
    write(run_folder(tmp_path / "run", READS[:30]))

    def forked() -> tuple[Path, int]:
        with running(config, fork=True) as station:
            until(lambda: station.daemon.tallies.whole().reads == 30)
            return station.out, station.daemon.progress.reads

    out = tmp_path / "out"
    assert forked() == (out, 30)
    assert forked() == (out, 0)
    point(panel, "two.edgeseq")
    assert forked() == (out / "fork-2", 30)
    assert forked() == (out / "fork-2", 0)
    configure(tmp_path, folders='["run", "other"]')
    assert forked() == (out / "fork-3", 30)
    assert len(scored(out)) == 30


def test_room_that_ends_is_waited_for_and_nothing_is_lost(tmp_path: Path, config: Path) -> None:
    configure(tmp_path, "[disk]\nmax_bytes = 100_000_000\n")
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / "ballast").open("wb") as file:
        file.truncate(99_000_000)
    write(run_folder(tmp_path / "run", READS[:60]))
    with running(config) as station:
        until(lambda: bool(station.daemon.progress.trouble))
        assert "of the 100 MB that disk.max_bytes allows; raise that and reload" in station.daemon.progress.trouble
        assert "disk.max_bytes allows" in station.describe()
        configure(tmp_path, "[disk]\nmax_bytes = 200_000_000\n")
        reloaded(station, "reloaded")
        until(lambda: station.daemon.progress.reads == 60)
        assert station.daemon.progress.trouble == ""
    assert sorted(scored(tmp_path / "out")) == sorted(names(READS[:60]))


@pytest.mark.slow
def test_the_output_folder_never_grows_beyond_its_bound(tmp_path: Path, panel: Path) -> None:
    write(run_folder(tmp_path / "run", records(40_000, length=20), files=2))
    with load(panel, threads=1) as scorer:
        journal = Journal(tmp_path / "out", {})
        room = Room(tmp_path / "out", Disk(max_bytes=14_000_000, min_free=0))
        largest = 0

        def watched(rows: int) -> str:
            nonlocal largest
            largest = max(largest, room.used())
            return room.problem(rows)

        daemon = Daemon([str(tmp_path / "run")], scorer, journal, room=watched, interval=0.02, commit=0.02)
        thread = threading.Thread(target=daemon.run)
        thread.start()
        until(lambda: bool(daemon.progress.trouble))
        assert daemon.progress.reads > 0
        assert max(largest, room.used()) <= 14_000_000
        room.disk = Disk(min_free=0)
        until(lambda: daemon.progress.reads == 40_000)
        daemon.stop()
        thread.join()
        journal.close()
    per_row = (tmp_path / "out" / NAME).stat().st_size / 40_000
    assert 200 < per_row < ROW


def test_free_space_is_left_to_others(tmp_path: Path, config: Path) -> None:
    configure(tmp_path, '[disk]\nmin_free = "900 TB"\n')
    write(run_folder(tmp_path / "run", READS[:60]))
    with running(config) as station:
        until(lambda: bool(station.daemon.progress.trouble))
        assert "disk.min_free keeps 900 TB for others; make room on the disk" in station.daemon.progress.trouble
        configure(tmp_path)
        reloaded(station, "reloaded")
        until(lambda: station.daemon.progress.reads == 60)


def start(config: Path, *more: str, **settings: Any) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "edgeseq", "watch", "--config", str(config), *more]
    return subprocess.Popen(argv, stderr=subprocess.PIPE, **settings)


def test_signals(tmp_path: Path, config: Path, panel: Path) -> None:
    write(run_folder(tmp_path / "run", READS[:30]))
    process = start(config)
    until(lambda: stored(tmp_path / "out") == 30)
    point(panel, "two.edgeseq")
    process.send_signal(signal.SIGHUP)
    until(lambda: any(event[0] == "reloaded" for event in events(tmp_path / "out")))
    config.write_text("nonsense")
    process.send_signal(signal.SIGHUP)
    until(lambda: any(event[0] == "reload refused" for event in events(tmp_path / "out")))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    lines = [re.sub(" [0-9:]{8} ", " ", line) for line in said.decode().splitlines()]
    assert lines == [
        f"edgeseq: watching {tmp_path / 'run'}",
        "edgeseq: configuration reloaded: bundle",
        (
            f"edgeseq: error: reload refused: {config}:1: not TOML: Expected '=' after a key in a key/value pair; "
            "see https://toml.io for how it is written"
        ),
        "edgeseq: error: the configuration that was there before stays in force",
        f"edgeseq: 30 reads, {sum(map(bases, READS[:30])):,} bases, 0 duplicates skipped",
    ]


def bases(record: bytes) -> int:
    return len(record.splitlines()[1])


def test_an_end_without_room_loses_nothing(tmp_path: Path, config: Path) -> None:
    configure(tmp_path, '[disk]\nmin_free = "900 TB"\n')
    write(run_folder(tmp_path / "run", READS[:30]))
    process = start(config)
    until(lambda: "min_free" in status(tmp_path))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert b"disk.min_free keeps 900 TB for others" in said.splitlines()[-1]
    configure(tmp_path)
    with running(config) as station:
        until(lambda: station.daemon.progress.reads == 30)


def status(folder: Path) -> str:
    try:
        return (folder / "out" / "status.json").read_text()
    except OSError:
        return ""


def test_another_bundle_at_the_start_is_a_mistake_of_use(
    tmp_path: Path, config: Path, panel: Path, run_edgeseq: Run
) -> None:
    configure(tmp_path, "until_idle = 0.1\n")
    assert run_edgeseq("watch", "--config", config).code == 0
    point(panel, "two.edgeseq")
    done = run_edgeseq("watch", "--config", config)
    assert done.code == 2
    assert "was begun with other settings: bundle was" in done.err
    assert run_edgeseq("watch", "--config", config, "--switch").code == 0
    assert run_edgeseq("watch", "--config", config).code == 0


HANGS = """
import signal
import os
from edgeseq.commands.watch import _Signals

class Station:
    def stop(self):
        os.write(1, b"asked\\n")
    def reload(self):
        os.write(1, b"reload\\n")

with _Signals() as signals:
    os.kill(os.getpid(), signal.SIGHUP)
    signals.station = Station()
    os.write(1, b"up\\n")
    while True:
        signal.pause()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_at_once(number: signal.Signals, code: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGHUP)
    assert process.stdout.readline() == b"reload\n"
    process.send_signal(number)
    assert process.stdout.readline() == b"asked\n"
    process.send_signal(number)
    assert process.wait(60) == code
    process.stdout.close()


def test_journald_gets_priorities(tmp_path: Path, config: Path) -> None:
    configure(tmp_path, "until_idle = 0.5\n")
    path = tmp_path / "log"
    with path.open("wb") as file:
        status = os.fstat(file.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        argv = [sys.executable, "-m", "edgeseq", "watch", "--config", str(config)]
        assert subprocess.run(argv, stderr=file, env=environment, check=False).returncode == 0
    assert path.read_text().splitlines()[0] == f"<6>watching {tmp_path / 'run'}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--config", "x.toml", "run"], "--config says all of it: write what RUN_DIR… says into the file"),
        (["--config", "x.toml", "--threads", "2"], "write what --threads says into the file"),
        (["run"], "name the folders to watch and --out OUT, or --config FILE"),
        (["run", "--out", "run"], "run is watched as well"),
        (["run", "--out", "out", "--fork", "--switch"], "choose one"),
        (["--out", "out", "--page", "a/run", "run"], "--page takes HOST:PORT, not 'a/run'"),
        (["run", "--out", "out", "--page", "0.0.0.0:80"], "0.0.0.0 can be reached from other machines; set a token"),
        (["run", "--out", "out", "--token-file", "x"], "--token-file is for the page: add --page"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_edgeseq: Run, options: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text("short")
    (tmp_path / "x").chmod(0o600)
    done = run_edgeseq("watch", *options)
    assert done.code == 2
    assert said in done.err


def test_a_bad_configuration_is_a_mistake_of_use(tmp_path: Path, config: Path, run_edgeseq: Run) -> None:
    configure(tmp_path, "x = 1\n")
    done = run_edgeseq("watch", "--config", config)
    assert (done.code, done.out) == (2, "")
    assert f"{config}:5: x: unknown key" in done.err


def test_without_a_service_manager_nothing_is_sent(tmp_path: Path) -> None:
    assert Notifier.of_environment({"WATCHDOG_USEC": "1000000"}).watchdog is None
