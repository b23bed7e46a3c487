"""What the service manager hears: a real datagram socket, as systemd's."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sequencer import run_folder
from test_daemon import READS, until, write
from test_station import configure, reloaded, running
from tiny_bundle import tiny_bundle

from edgeseq.session import Session
from edgeseq.watch.files import Files
from edgeseq.watch.notify import Notifier


class Manager:
    """A service manager: what it heard, with the time."""

    def __init__(self, address: str) -> None:
        self.heard: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while text := self._socket.recv(4096).decode():
            self.heard.append((time.monotonic(), text))

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def beats(self) -> int:
        return self.said().count("WATCHDOG=1")

    def said(self) -> list[str]:
        return [text for _, text in self.heard]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    found = Manager(str(tmp_path / "notify"))
    yield found
    found.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    tiny_bundle(tmp_path / "panel.edgeseq")
    return configure(tmp_path)


def test_the_line_to_the_manager(tmp_path: Path, manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}
    notifier = Notifier.of_environment(environment)
    assert notifier.watchdog == 3.0
    assert Notifier.of_environment({**environment, "WATCHDOG_PID": "1"}).watchdog is None
    assert Notifier.of_environment({**environment, "WATCHDOG_PID": str(os.getpid())}).watchdog == 3.0
    notifier.ready()
    notifier.status("two\nlines")
    notifier.reloading()
    notifier.stopping()
    until(lambda: len(manager.heard) == 4)
    said = manager.said()
    assert said[:2] == ["READY=1", "STATUS=two lines"]
    assert said[2].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert said[3] == "STOPPING=1"


def test_names_that_are_no_files() -> None:
    name = f"edgeseq-test-{os.getpid()}"
    manager = Manager(f"\0{name}")
    Notifier(f"@{name}").ready()
    until(lambda: manager.said() == ["READY=1"])
    manager.close()


def test_a_manager_that_does_not_listen_holds_up_nothing(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        for _ in range(2000):
            Notifier(str(tmp_path / "deaf")).alive()
    Notifier(str(tmp_path / "nobody")).alive()


def test_a_run_from_start_to_end(tmp_path: Path, manager: Manager, config: Path) -> None:
    with running(config, notifier=Notifier(str(tmp_path / "notify"), 0.2)) as station:
        until(lambda: manager.beats() >= 3)
        reloaded(station, "reloaded")
    said = [text.split("\n")[0] for text in manager.said() if text != "WATCHDOG=1" and not text.startswith("STATUS")]
    assert said == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
    assert any(text.startswith("STATUS=0 reads scored since the start, 0 bytes wait") for text in manager.said())


def silence_while(manager: Manager, hangs: threading.Event, goes_on: Callable[[], None]) -> None:
    """Once something hangs, at most what was on its way is heard, and afterwards it is heard again."""
    assert hangs.wait(60)
    time.sleep(0.5)
    before = manager.beats()
    time.sleep(1.5)  # thirty times the pause between two signs of life
    assert manager.beats() == before
    goes_on()
    until(lambda: manager.beats() > before + 2)


def test_an_engine_that_hangs_is_silent(
    tmp_path: Path, manager: Manager, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, free = threading.Event(), threading.Event()
    run = Session.run

    def hang(session: Session, inputs: Any) -> Any:
        if threading.current_thread().name.startswith("edgeseq-worker"):
            hangs.set()
            free.wait()
        return run(session, inputs)

    monkeypatch.setattr(Session, "run", hang)
    with running(config, notifier=Notifier(str(tmp_path / "notify"), 0.2)) as station:
        until(lambda: manager.beats() >= 3)
        write(run_folder(tmp_path / "run", READS[:30]))
        silence_while(manager, hangs, free.set)
        until(lambda: station.daemon.progress.reads == 30)


def test_a_folder_that_hangs_is_silent(
    tmp_path: Path, manager: Manager, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, free = threading.Event(), threading.Event()
    look = Files.look

    def hang(files: Files) -> None:
        if manager.beats() >= 3:
            hangs.set()
            free.wait()
        look(files)

    monkeypatch.setattr(Files, "look", hang)
    with running(config, notifier=Notifier(str(tmp_path / "notify"), 0.2)):
        silence_while(manager, hangs, free.set)


def test_a_full_disk_is_no_reason_to_be_killed(tmp_path: Path, manager: Manager, config: Path) -> None:
    configure(tmp_path, '[disk]\nmin_free = "900 TB"\n')
    write(run_folder(tmp_path / "run", READS[:30]))
    with running(config, notifier=Notifier(str(tmp_path / "notify"), 0.2)) as station:
        until(lambda: bool(station.daemon.progress.trouble))
        before = manager.beats()
        until(lambda: manager.beats() > before + 1)
        configure(tmp_path)
        reloaded(station, "reloaded")
        until(lambda: station.daemon.progress.reads == 30)
