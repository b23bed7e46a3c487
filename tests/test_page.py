"""The page, over real connections: what it serves, to whom, and how it looks in a real browser."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from living import Run, living, row, until

from edgeseq.errors import MissingExtraError, UsageError
from edgeseq.watch.page.settings import PageSettings

if TYPE_CHECKING:
    from edgeseq.watch.page.server import Page

pytest.importorskip("uvicorn", reason="the page is not installed: pip install 'edgeseq[dashboard]'")
pytest.importorskip("prometheus_client", reason="the page is not installed: pip install 'edgeseq[dashboard]'")

TOKEN = "0123456789abcdef"
EVIL = '</script><script>alert("barcode")</script>'


@contextmanager
def serving(run: Run, **settings: Any) -> Iterator[Page]:
    from edgeseq.watch.page.server import Page

    page = Page(run.live, PageSettings(**{"port": 0, **settings}))
    page.start()
    run.live.snapshot(0)
    try:
        yield page
    finally:
        page.close()


@pytest.fixture
def run(tmp_path: Path, bundle_path: Path) -> Iterator[Run]:
    with living(tmp_path / "out", bundle_path) as found:
        yield found


def connection(page: Page) -> http.client.HTTPConnection:
    host, port = re.findall(r"//(.*):(\d+)/", page.address)[0]
    return http.client.HTTPConnection(host, int(port), timeout=30)


def get(page: Page, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of an answer. Headers are named with ``_`` for ``-``."""
    link = connection(page)
    link.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = link.getresponse()
    text = answer.read().decode()
    link.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text


def test_the_page_holds_all_that_it_shows_first(run: Run) -> None:
    run.score("barcode01", a=50, other=50)
    with serving(run) as page:
        status, headers, text = get(page, "/")
    assert status == 200
    first = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)[0]
    told = json.loads(first)
    assert told["samples"]["barcode01"]["words"] == "a detected"
    assert told["history"]["run"] == {"a": [50], "other": [50]}
    nonce = re.findall(r"script-src 'nonce-([^']+)'", headers["content-security-policy"])[0]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert all(f'nonce="{nonce}"' in tag for tag in re.findall(r"<(?:script|style)[^>]*>", text))
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"
    assert "server" not in headers


def test_nothing_is_loaded_from_elsewhere(run: Run) -> None:
    with serving(run) as page:
        _, _, text = get(page, "/")
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) == {"http://www.w3.org/2000/svg"}
    assert re.findall(r"""(?:src|href)=["']([^"']*)""", text) == ["data:,"]


def test_names_from_files_are_never_code(run: Run) -> None:
    run.score(EVIL, a=3)
    with serving(run) as page:
        _, _, text = get(page, "/")
        assert EVIL not in text
        assert json.loads(get(page, "/status.json")[2])["samples"][EVIL]["reads"] == 3


def test_status_json_is_the_snapshot(run: Run) -> None:
    run.score("barcode01", other=7)
    with serving(run) as page:
        status, headers, text = get(page, "/status.json")
    told = json.loads(text)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert told["totals"]["reads"] == 7
    assert told["run"]["answers"][0]["words"] == "not detected at 7 reads"


def test_metrics_are_those_of_prometheus(run: Run) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    run.score("barcode01", a=50, other=50)
    run.score("barcode02", reason="short", unclassified=5)
    with serving(run) as page:
        _, headers, text = get(page, "/metrics")
    assert headers["content-type"].startswith("text/plain; version=")
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["edgeseq_reads_total", (("barcode", "barcode01"), ("label", "a"))] == 50
    assert found["edgeseq_bases_total", (("barcode", "barcode01"),)] == 100_000
    assert found["edgeseq_detected", (("barcode", "barcode01"), ("label", "a"))] == 1
    assert found["edgeseq_detected", (("barcode", "barcode01"), ("label", "b"))] == 0
    assert ("edgeseq_detected", (("barcode", "barcode02"), ("label", "a"))) not in found  # no data yet
    assert found["edgeseq_tested_reads", (("barcode", "barcode02"),)] == 0
    assert found["edgeseq_policy", (("policy", "all"),)] == 1
    assert found["edgeseq_skipped_reads_total", ()] == 0
    assert ("edgeseq_backlog_seconds", ()) in found


def read_events(answer: http.client.HTTPResponse, count: int) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    name = ""
    while len(found) < count:
        line = answer.readline().decode().rstrip("\n")
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            found.append((name, json.loads(line[6:])))
    return found


@contextmanager
def heard(page: Page) -> Iterator[http.client.HTTPResponse]:
    """An answer that goes on."""
    link = connection(page)
    link.request("GET", "/events")
    with closing(link), closing(link.getresponse()) as answer:
        yield answer


def test_events_bring_what_is_new(run: Run) -> None:
    with serving(run) as page, heard(page) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        (history, _), (snapshot, told) = read_events(answer, 2)
        assert (history, snapshot) == ("history", "snapshot")
        assert told["run"]["tested"] == 0
        run.score("barcode01", a=50)
        seen = told
        while not seen["run"]["tested"]:
            ((name, seen),) = read_events(answer, 1)
            assert name == "snapshot"  # the history comes seldom
        assert "history" not in seen
        assert seen["samples"]["barcode01"]["words"] == "a detected"


def test_few_may_listen_at_the_same_time(run: Run) -> None:
    from edgeseq.watch.page.server import CLIENTS

    with serving(run) as page:
        with ExitStack() as listeners:
            for _ in range(CLIENTS):
                assert read_events(listeners.enter_context(heard(page)), 1)
            assert get(page, "/events")[0] == 503
            assert get(page, "/status.json")[0] == 200
        until(lambda: page._clients == 0)


def test_listeners_hear_of_the_end(tmp_path: Path, bundle_path: Path) -> None:
    with living(tmp_path / "out", bundle_path) as run, serving(run) as page, heard(page) as answer:
        read_events(answer, 2)
        run.live.close()
        page.close()
        ((name, told),) = read_events(answer, 1)
        assert (name, told["state"]) == ("snapshot", "ended")
        assert answer.read().strip() == b""


def test_listeners_do_not_hold_up_the_end(run: Run) -> None:
    with serving(run) as page, heard(page) as answer:
        assert read_events(answer, 1)
        page.close()
        assert not page._thread.is_alive()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(run: Run, method: str) -> None:
    with serving(run) as page:
        assert get(page, "/", method)[0] == 405
        assert get(page, "/nothing")[0] == 404


@pytest.mark.parametrize("host", ["example.org", "example.org:8437", "127.0.0.1.example.org", "10.0.0.1", ""])
def test_other_names_for_this_machine_are_refused(run: Run, host: str) -> None:
    with serving(run) as page:
        assert get(page, "/status.json", Host=host)[0] == 421
        assert get(page, "/", Host=host)[0] == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1", "127.1.2.3:80", "[::1]:8437"])
def test_names_of_loopback_are_taken(run: Run, host: str) -> None:
    with serving(run) as page:
        assert get(page, "/", Host=host)[0] == 200


def test_the_token_is_asked_for(run: Run) -> None:
    with serving(run, token=TOKEN) as page:
        for path in ("/", "/events", "/status.json", "/metrics", "/nothing"):
            status, headers, text = get(page, path)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert "reads" not in text
        assert get(page, "/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert get(page, f"/status.json?token={TOKEN}")[0] == 200
        assert get(page, "/metrics", Authorization="Bearer 0123456789abcdeF")[0] == 401
        assert get(page, "/metrics", Authorization="Bearer é")[0] == 401
        assert get(page, "/metrics?token=")[0] == 401
        assert get(page, "/metrics", Cookie=f"edgeseq={TOKEN}")[0] == 401


def test_the_token_is_named_once_and_leaves_the_address_bar(run: Run) -> None:
    with serving(run, token=TOKEN) as page:
        status, headers, text = get(page, f"/?token={TOKEN}")
        assert (status, headers["location"], text) == (303, "/", "")
        cookie, *flags = headers["set-cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Strict"} <= set(flags)
        assert TOKEN not in cookie
        assert get(page, "/", Cookie=cookie)[0] == 200
        assert get(page, "/", Cookie=f"other=1; {cookie}")[0] == 200
        assert get(page, "/", Cookie=f"{cookie}0")[0] == 401


def listening(port: int) -> set[str]:
    """The addresses on which this machine listens at a port, as the kernel writes them."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            place, state = line.split()[1], line.split()[3]
            address, _, number = place.rpartition(":")
            if state == "0A" and int(number, 16) == port:
                found.add(address)
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="this system does not list its connections")
def test_nothing_listens_beyond_loopback(run: Run) -> None:
    with serving(run) as page:
        port = int(page.address.rsplit(":", 1)[1].strip("/"))
        assert listening(port) == {"0100007F"}
    assert listening(port) == set()


def test_all_addresses_with_a_token_take_any_name(run: Run) -> None:
    with serving(run, host="0.0.0.0", token=TOKEN) as page:
        port = int(page.address.rsplit(":", 1)[1].strip("/"))
        link = http.client.HTTPConnection("127.0.0.1", port)
        link.request("GET", "/status.json", headers={"Host": "lab-board:8437", "Authorization": f"Bearer {TOKEN}"})
        assert link.getresponse().status == 200
        link.close()


def test_without_the_extra_the_line_to_install_it_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r"uvicorn is not installed; run: pip install 'edgeseq\[dashboard\]'"):
        serving(run).__enter__()


def test_a_port_that_is_taken(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = rf"page: 127\.0\.0\.1 port {port} cannot be listened on: Address already"
        with pytest.raises(UsageError, match=said), serving(run, port=port):
            pass


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"host": "0.0.0.0"}, "can be reached from other machines; set a token of at least 16 characters"),
        ({"host": "::"}, "can be reached from other machines"),
        ({"host": "192.168.1.5"}, "can be reached from other machines"),
        ({"host": "lab-board"}, "can be reached from other machines"),
        ({"host": "0.0.0.0", "token": "short"}, "at least 16 printable"),
        ({"token": "short"}, "at least 16 printable"),
        ({"token": "0123456789abcdé0"}, "printable ASCII"),
        ({"port": 65536}, "port is 65536"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        PageSettings(**settings)


def test_settings_do_not_show_the_token() -> None:
    assert TOKEN not in repr(PageSettings(token=TOKEN))
    assert PageSettings(host="::1").loopback
    assert PageSettings(host="127.0.0.2").loopback


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Real Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if path is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_in_chromium(run: Run, browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    run.store([row(1000 + number, f"barcode{number % 24 + 1:02d}", "other") for number in range(100_000)])
    run.score("barcode03", a=200, b=2)
    run.score(EVIL, other=5)
    with serving(run) as page:
        view = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        said: list[str] = []
        asked: list[str] = []
        view.on("console", lambda message: said.append(message.text))
        view.on("pageerror", lambda error: said.append(str(error)))
        view.on("request", lambda request: asked.append(request.url))
        view.goto(page.address, wait_until="domcontentloaded")
        assert view.inner_text("#answer strong") == "Detected: a"
        assert "100.2 k" in view.inner_text("#tiles")
        view.select_option("#chosen", "barcode03")
        assert view.inner_text("#evidence h4 >> nth=0").startswith("Detected, at 4,36")
        assert view.locator("#chart path").count() == 3
        run.score("barcode07", b=500)
        view.get_by_text("Detected: a, b").wait_for()
        assert view.inner_text("#state").startswith("waiting live")
        assert view.evaluate("document.documentElement.scrollWidth") == width
        view.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
        view.close()
    assert said == []
    assert all(url.startswith((page.address, "data:")) for url in asked)
    assert (tmp_path / f"{scheme}.png").stat().st_size > 50_000
