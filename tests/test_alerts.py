"""Alerts: once for each crossing, to real servers, programs and brokers, whatever becomes of them."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from living import living, until
from sequencer import records, run_folder

from edgeseq.errors import MissingExtraError, UsageError
from edgeseq.scorer import load
from edgeseq.watch.alerts import Alerts, AlertSettings, Command, Mqtt, Webhook
from edgeseq.watch.answers import Questions
from edgeseq.watch.channels import ChannelError
from edgeseq.watch.daemon import Daemon
from edgeseq.watch.journal import Journal
from edgeseq.watch.journal_reader import JournalReader
from edgeseq.watch.live import Live

MESSAGE = {"id": "0123456789abcdef", "kind": "detected", "text": "a detected in barcode01", "crossings": []}


class Receiver(ThreadingHTTPServer):
    """A web server that keeps what is posted to it; ``answers`` are its next status codes, then 200."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.posts: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[tuple[int, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:  # http.server's name
        body = self.rfile.read(int(self.headers["content-length"]))
        code, place = self.server.answers.pop(0) if self.server.answers else (200, "")
        self.server.paths.append(self.path)
        if code == 200:
            self.server.posts.append(json.loads(body))
            self.server.headers.append(dict(self.headers))
        self.send_response(code)
        if place:
            self.send_header("Location", place)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    server = Receiver(port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


def to(url: str, **settings: Any) -> AlertSettings:
    return AlertSettings(log=False, webhooks=(Webhook(url, name="hook"),), **settings)


def events(out: Path, kind: str) -> list[tuple[str, str]]:
    reader = JournalReader(out)
    found = [(subject, text) for _, _, what, subject, text in reader.events() if what == kind]
    reader.close()
    return found


def test_a_crossing_is_told_once(tmp_path: Path, bundle_path: Path, receiver: Receiver) -> None:
    with living(tmp_path, bundle_path, alerts=to(receiver.url)) as run:
        run.score("barcode01", a=1, other=99)
        assert run.live.snapshot(0)["detections"] == []
        run.score("barcode01", a=20)
        until(lambda: receiver.posts)
        run.score("barcode01", a=100)
    (message,) = receiver.posts
    (crossing,) = message["crossings"]
    assert (crossing["barcode"], crossing["label"], crossing["hits"], crossing["reads"]) == ("barcode01", "a", 21, 120)
    assert crossing["answer"] == "detected"
    assert crossing["background"] < crossing["low"] < 21 / 120
    assert message["class"] == "a"
    assert message["out"] == str(tmp_path)
    assert message["text"].startswith("a detected in barcode01: 21 of 120 reads, at least ")
    assert receiver.headers[0]["Idempotency-Key"] == message["id"]
    assert receiver.headers[0]["Content-Type"] == "application/json"
    assert events(tmp_path, "alert sent") == [("barcode01\ta\thook", message["id"])]


def test_nothing_is_told_again_after_a_restart(tmp_path: Path, bundle_path: Path, receiver: Receiver) -> None:
    for _ in range(3):
        with living(tmp_path, bundle_path, alerts=to(receiver.url)) as run:
            run.score("barcode01", a=50)
    assert len(receiver.posts) == 1
    assert len(events(tmp_path, "detected")) == 1


def test_a_refused_alert_is_tried_again(tmp_path: Path, bundle_path: Path, receiver: Receiver) -> None:
    receiver.answers = [(503, ""), (404, "")]
    with living(tmp_path, bundle_path, alerts=to(receiver.url)) as run:
        run.score("barcode01", a=50)
        until(lambda: receiver.posts)
        until(lambda: not run.live.alerts.states()[0].problem)
        (state,) = run.live.alerts.states()
    assert (state.delivered, state.failed, state.waiting) == (1, 2, 0)
    assert len(receiver.posts) == 1
    ((channel, text),) = events(tmp_path, "alert failed")
    assert channel == "hook"
    assert text.startswith("answered 503 Service Unavailable; a detected in barcode01")


def test_further_crossings_of_a_class_are_gathered(tmp_path: Path, bundle_path: Path, receiver: Receiver) -> None:
    with living(tmp_path, bundle_path, alerts=to(receiver.url, cooldown=3600.0)) as run:
        run.score("barcode01", a=50)
        until(lambda: len(receiver.posts) == 1)
        run.score("barcode02", a=50)
        run.score("barcode03", a=50)
        run.score("barcode01", b=50)
        until(lambda: len(receiver.posts) == 2)  # another class has a cool-down of its own
        until(lambda: run.live.alerts.states()[0].waiting == 2)
    told = [[(one["barcode"], one["label"]) for one in post["crossings"]] for post in receiver.posts]
    assert told == [[("barcode01", "a")], [("barcode01", "b")], [("barcode02", "a"), ("barcode03", "a")]]


def test_a_cool_down_ends_by_itself_and_survives_a_restart(
    tmp_path: Path, bundle_path: Path, receiver: Receiver
) -> None:
    with living(tmp_path, bundle_path, alerts=to(receiver.url, cooldown=0.3)) as run:
        run.score("barcode01", a=50)
        until(lambda: len(receiver.posts) == 1)
        run.score("barcode02", a=50)
        until(lambda: len(receiver.posts) == 2)
    with living(tmp_path, bundle_path, alerts=to(receiver.url, cooldown=3600.0)) as run:
        run.score("barcode03", a=50)
        run.score("barcode03", b=50)
        until(lambda: len(receiver.posts) == 3)
        assert receiver.posts[2]["class"] == "b"
        until(lambda: run.live.alerts.states()[0].waiting == 1)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
from living import living, until
from edgeseq.watch.alerts import AlertSettings, Webhook
settings = AlertSettings(log=False, webhooks=(Webhook("http://127.0.0.1:{port}/hook", name="hook"),))
with living(Path({out!r}), Path({bundle!r}), alerts=settings) as run:
    run.score("barcode01", a=50)
    until(lambda: run.live.alerts.states()[0].failed > 1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_sigkill_interrupted_is_told_after_the_restart(
    tmp_path: Path, bundle_path: Path, repository: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    facts = {"tests": str(repository / "tests"), "root": str(repository), "port": port}
    script = KILLED.format(out=str(tmp_path / "out"), bundle=str(bundle_path), **facts)
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert events(tmp_path / "out", "alert sent") == []
    with receiving(port) as receiver:
        for _ in range(2):
            with living(tmp_path / "out", bundle_path, alerts=to(receiver.url)) as run:
                until(lambda: receiver.posts)
                run.score("barcode01", a=10)
        (message,) = receiver.posts
    ((subject, text),) = events(tmp_path / "out", "detected")
    assert subject == "barcode01\ta"
    assert message["crossings"][0]["time"] == json.loads(text)["time"]


def test_a_repeated_alert_has_the_same_id(tmp_path: Path, bundle_path: Path, receiver: Receiver) -> None:
    with living(tmp_path, bundle_path, alerts=to(receiver.url)) as run:
        run.score("barcode01", a=50)
        until(lambda: receiver.posts)
        until(lambda: events(tmp_path, "alert sent"))
        run.journal._db.execute("DELETE FROM events WHERE kind = 'alert sent'")  # as if killed before it was noted
    with living(tmp_path, bundle_path, alerts=to(receiver.url)):
        until(lambda: len(receiver.posts) == 2)
    first, second = receiver.posts
    assert first["id"] == second["id"]
    assert first["crossings"] == second["crossings"]


def test_a_channel_that_is_new_hears_no_old_news(tmp_path: Path, bundle_path: Path, receiver: Receiver) -> None:
    with living(tmp_path, bundle_path) as run:
        run.score("barcode01", a=50)
    with living(tmp_path, bundle_path, alerts=to(receiver.url)) as run:
        run.score("barcode02", a=50)
    assert [one["barcode"] for post in receiver.posts for one in post["crossings"]] == ["barcode02"]


def test_other_channels_may_take_over_while_it_runs(tmp_path: Path, bundle_path: Path, receiver: Receiver) -> None:
    with living(tmp_path, bundle_path, alerts=to("http://127.0.0.1:9/hook")) as run:
        run.score("barcode01", a=50)
        until(lambda: run.live.alerts.states()[0].failed)
        run.live.use(Alerts(to(receiver.url), run.journal))
        until(lambda: receiver.posts)
    assert len(receiver.posts) == 1


def test_a_full_disk_puts_an_alert_off(tmp_path: Path, bundle_path: Path, receiver: Receiver) -> None:
    with living(tmp_path, bundle_path, alerts=to(receiver.url)) as run:
        run.score("barcode01", other=10)
        run.journal._db.execute("PRAGMA query_only = ON")
        run.live.listen([])
        before = run.live._unsaid
        assert before == []
        run.live._tallies.add("barcode01", "a", "", 50, 50)
        run.live._ask({"barcode01"})
        assert len(run.live._unsaid) == 1
        assert receiver.posts == []
        run.journal._db.execute("PRAGMA query_only = OFF")
        until(lambda: receiver.posts)
    assert len(events(tmp_path, "detected")) == 1


def test_a_webhook_that_never_answers_does_not_stop_the_scoring(tmp_path: Path, bundle_path: Path) -> None:
    for job in run_folder(tmp_path / "run", records(200)):
        job.path.parent.mkdir(parents=True, exist_ok=True)
        job.path.write_bytes(job.data)
    with socket.create_server(("127.0.0.1", 0)) as mute, load(bundle_path, threads=1) as scorer:
        journal = Journal(tmp_path / "out", {})
        daemon = Daemon([str(tmp_path / "run")], scorer, journal, until_idle=0.5, interval=0.02, commit=0.05)
        hook = Webhook(f"http://127.0.0.1:{mute.getsockname()[1]}/", timeout=0.5)
        alerts = Alerts(AlertSettings(log=False, webhooks=(hook,)), journal)
        live = Live(daemon, journal, Questions(classes=("other",), background=0.001), alerts)
        live.start()
        daemon.run()
        assert daemon.progress.reads == 200
        assert [one["label"] for one in live.snapshot(0)["detections"]] == ["other", "other", "other"]
        live.close()
        journal.close()
    assert events(tmp_path / "out", "alert sent") == []


def test_a_redirection_to_another_host_is_not_followed(receiver: Receiver) -> None:
    receiver.answers = [(307, f"http://localhost:{receiver.server_port}/elsewhere")]
    with pytest.raises(ChannelError, match="redirected to another host, localhost"):
        Webhook(receiver.url).open().deliver(MESSAGE)
    assert receiver.paths == ["/hook"]


def test_a_redirection_on_the_same_host_keeps_the_message(receiver: Receiver) -> None:
    receiver.answers = [(308, "/moved")]
    Webhook(receiver.url, headers=(("Authorization", "Bearer x"),)).open().deliver(MESSAGE)
    assert receiver.paths == ["/hook", "/moved"]
    assert receiver.posts == [MESSAGE]
    assert receiver.headers[0]["Authorization"] == "Bearer x"


def test_a_redirection_that_would_lose_the_message_is_an_error(receiver: Receiver) -> None:
    receiver.answers = [(302, "/login")]
    with pytest.raises(ChannelError, match="answered 302 moved to /login"):
        Webhook(receiver.url).open().deliver(MESSAGE)


def program(folder: Path, text: str) -> str:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_command_gets_the_message_on_its_standard_input(tmp_path: Path) -> None:
    path = program(tmp_path, 'cat > "$1"')
    Command((path, f"{tmp_path}/with space; rm -rf x")).open().deliver(MESSAGE)
    assert json.loads((tmp_path / "with space; rm -rf x").read_text()) == MESSAGE


def test_a_command_that_reads_nothing_may_succeed(tmp_path: Path) -> None:
    Command((program(tmp_path, "exit 0"),)).open().deliver({**MESSAGE, "text": "x" * 1_000_000})


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    path = program(tmp_path, "echo first >&2; echo no such modem >&2; exit 3")
    with pytest.raises(ChannelError, match="ended with exit code 3: no such modem"):
        Command((path,)).open().deliver(MESSAGE)


def test_a_command_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    path = program(tmp_path, f"sleep 1000 & echo $! > {tmp_path}/child; wait")
    with pytest.raises(ChannelError, match=r"did not end within 0\.5 s and was killed"):
        Command((path,), timeout=0.5).open().deliver(MESSAGE)
    child = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    until(lambda: not child.exists() or child.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ChannelError, match="not started: No such file"):
        Command((str(tmp_path / "nothing"),)).open().deliver(MESSAGE)


def test_the_log_has_a_line(tmp_path: Path, bundle_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), living(tmp_path, bundle_path, alerts=AlertSettings()) as run:
        run.score("barcode01", a=50)
    assert [record.name for record in caplog.records] == ["edgeseq.alerts"]
    assert "a detected in barcode01: 50 of 50 reads" in caplog.text


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    """The port of a real broker that asks for a password."""
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed: pip install 'edgeseq[mqtt]'")
    path = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    maker = shutil.which("mosquitto_passwd")
    if path is None or maker is None:
        pytest.skip("mosquitto is not installed")
    subprocess.run([maker, "-b", "-c", str(tmp_path / "passwords"), "lab", "secret"], check=True, capture_output=True)
    (tmp_path / "passwords").chmod(0o644)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    text = f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {tmp_path}/passwords\nuser root\n"
    (tmp_path / "broker.conf").write_text(text)
    process = subprocess.Popen([path, "-c", str(tmp_path / "broker.conf")], stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(answers)
        yield port
    finally:
        process.terminate()
        process.wait()


def test_mqtt_against_a_real_broker(tmp_path: Path, bundle_path: Path, broker: int) -> None:
    from paho.mqtt import client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    heard: list[Any] = []
    ready = threading.Event()
    listener = mqtt.Client(CallbackAPIVersion.VERSION2)
    listener.username_pw_set("lab", "secret")
    listener.on_message = lambda _, __, message: heard.append((message.topic, json.loads(message.payload)))
    listener.on_subscribe = lambda *_: ready.set()
    listener.connect("127.0.0.1", broker)
    listener.subscribe("lab/#", qos=1)
    listener.loop_start()
    assert ready.wait(10)
    channel = Mqtt("127.0.0.1", broker, topic="lab/alerts", username="lab", password="secret")
    with living(tmp_path / "out", bundle_path, alerts=AlertSettings(log=False, mqtt=(channel,))) as run:
        run.score("barcode01", a=50)
        until(lambda: heard)
    listener.disconnect()
    listener.loop_stop()
    ((topic, message),) = heard
    assert topic == "lab/alerts"
    assert message["crossings"][0]["barcode"] == "barcode01"
    assert [subject for subject, _ in events(tmp_path / "out", "alert sent")] == ["barcode01\ta\tmqtt 127.0.0.1"]


def test_a_broker_that_refuses_the_password(broker: int) -> None:
    with pytest.raises(ChannelError, match="refused: "):
        Mqtt("127.0.0.1", broker, username="lab", password="wrong").open().deliver(MESSAGE)


def test_a_broker_that_is_not_there() -> None:
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed: pip install 'edgeseq[mqtt]'")
    with pytest.raises(ChannelError, match=r"not reached: .*refused"):
        Mqtt("127.0.0.1", 9).open().deliver(MESSAGE)


def test_without_the_extra_the_line_to_install_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    journal = Journal(tmp_path, {})
    with pytest.raises(MissingExtraError, match=r"paho-mqtt is not installed; run: pip install 'edgeseq\[mqtt\]'"):
        Alerts(AlertSettings(mqtt=(Mqtt("broker"),)), journal)
    journal.close()


def test_channels_have_names_of_their_own_without_secrets() -> None:
    settings = AlertSettings(
        webhooks=(Webhook("https://user:pass@example.org/T000/secret"), Webhook("https://example.org/other")),
        commands=(Command(("/usr/bin/mail", "-s", "x")),),
        mqtt=(Mqtt("broker", name="the lab"),),
    )
    names = ["log", "webhook example.org", "webhook example.org #2", "command mail", "the lab"]
    assert list(settings.channels()) == names
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Webhook("ftp://example.org/x"), "starts with http:// or https://"),
        (lambda: Webhook("https:///x"), "names a host"),
        (lambda: Webhook("https://example.org", timeout=0), "timeout is 0"),
        (lambda: Webhook("https://example.org", headers=(("X", "a\r\nB: c"),)), "line break"),
        (lambda: Command(()), "names no program"),
        (lambda: Command(("x",), timeout=-1), "timeout is -1"),
        (lambda: Mqtt(""), "no host"),
        (lambda: Mqtt("h", port=0), "port is 0"),
        (lambda: Mqtt("h", topic="a/#"), "no wildcard"),
    ],
)
def test_settings_that_cannot_work(make: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()
