"""``run.toml``: what is understood, and what is said of each mistake.

Each file in ``configurations/bad`` says on its first line what has to be said of it: line, key, what is wrong, what to
do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from edgeseq.watch.alerts import AlertSettings, Command, Mqtt, Webhook
from edgeseq.watch.answers import Questions
from edgeseq.watch.config import Configuration, ConfigurationError, read_configuration
from edgeseq.watch.load import Limits
from edgeseq.watch.page.settings import PageSettings
from edgeseq.watch.room import Disk
from edgeseq.watch.toml import Problem, key_lines

FOLDER = Path(__file__).parent / "configurations"
BAD = sorted((FOLDER / "bad").glob("*.toml"))
BASE = 'folders = ["run"]\nout = "out"\n'


def refused(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(path)
    return str(caught.value)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_each_mistake_is_named_with_its_line_and_its_remedy(path: Path) -> None:
    expected = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    assert refused(path) == f"{path}{expected}"


def test_there_are_mistakes() -> None:
    assert len(BAD) >= 40


def test_the_least() -> None:
    found = read_configuration(FOLDER / "good" / "least.toml")
    assert found == Configuration((FOLDER / "good" / "run",), FOLDER / "good" / "out")
    assert found.limits == Limits()
    assert found.alerts == AlertSettings()


def test_everything() -> None:
    found = read_configuration(FOLDER / "good" / "whole.toml")
    assert found == Configuration(
        folders=(Path("/data/run42"), Path("/data/run43")),
        out=Path("/data/edgeseq/run42"),
        bundle=FOLDER / "panels" / "current.edgeseq",
        threads=2,
        provider="cpu",
        until_idle=3600.0,
        log_level="debug",
        limits=Limits(30.0, 120.5, 800, 20, 10.0),
        disk=Disk(20_000_000_000, 1_610_612_736, 500),
        questions=Questions(0.05, 0.1, 0.02, 0.001, 24, "barcode12", ("ebola-zaire", "lassa")),
        alerts=AlertSettings(
            600.0,
            log=False,
            webhooks=(
                Webhook("https://ward.example/hook", "ward", (("X-Room", "12"),)),
                Webhook("http://127.0.0.1:9000/", timeout=3.0),
            ),
            commands=(Command(("/usr/local/bin/beep", "--long")),),
            mqtt=(Mqtt("broker.example", 8883, tls=True),),
        ),
        page=PageSettings("::1", 9000),
        samples={"barcode01": "Patient 17", "barcode12": "water", "strange name": "…"},
    )


def test_all_problems_are_reported_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "run.toml", "out = 3\nthreads = 0\n\n[limits]\none_in = -1\n[qestions]\n")
    assert refused(path).splitlines() == [
        f"{path}: folders: is missing; it has no default",
        f"{path}:1: out: is 3; it has to be a path",
        f"{path}:2: threads: is 0; it has to be at least 1",
        f"{path}:5: limits.one_in: is -1; it has to be at least 1",
        f"{path}:6: qestions: unknown key; did you mean questions?",
    ]


def test_contradictions_are_reported_at_once(tmp_path: Path) -> None:
    text = "[limits]\nsample_after = 5\n[questions]\nbackground = 0.5\nclasses = ['a', 'a']\n"
    found = refused(write(tmp_path / "run.toml", BASE + text)).splitlines()
    assert [line.split(": ")[1] for line in found] == ["limits.sample_after", "questions.least", "questions.classes"]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    assert refused(path) == f"{path}: cannot be read: No such file or directory; check the path"
    path.write_bytes(b'out = "\xff"')
    assert refused(path) == f"{path}: is not UTF-8; save it as UTF-8"


def test_absurd_nesting_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "run.toml", f"{BASE}a = {'[' * 100_000}\n")
    assert refused(path) == f"{path}: not TOML: lists or tables are nested too deeply; write it flat"


def test_a_secret_comes_from_a_file_that_others_cannot_read(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret", "s3cret\n")
    secret.chmod(0o640)
    path = write(tmp_path / "run.toml", BASE + '[[alerts.mqtt]]\nhost = "b"\npassword_file = "secret"\n')
    assert read_configuration(path).alerts.mqtt[0].password == "s3cret"
    secret.chmod(0o644)
    assert refused(path) == (
        f"{path}:5: alerts.mqtt[0].password_file: {secret} can be read by everybody on this machine; "
        f"run: chmod o= {secret}"
    )
    secret.chmod(0o600)
    secret.write_text("\n")
    assert "is empty; write the password into it" in refused(path)


def test_a_secret_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESEQ_ALERTS_MQTT_0_PASSWORD", "s3cret")
    path = write(tmp_path / "run.toml", BASE + '[[alerts.mqtt]]\nhost = "b"\n')
    assert read_configuration(path).alerts.mqtt[0].password == "s3cret"


def test_the_page_reaches_beyond_this_machine_with_a_token_only(tmp_path: Path) -> None:
    write(tmp_path / "token", "0123456789abcdef").chmod(0o600)
    path = write(tmp_path / "run.toml", BASE + '[page]\nhost = "0.0.0.0"\ntoken_file = "token"\n')
    assert read_configuration(path).page == PageSettings("0.0.0.0", 8437, "0123456789abcdef")
    path.write_text(BASE + '[page]\nhost = "0.0.0.0"\n')
    assert refused(path).startswith(f"{path}:3: page: 0.0.0.0 can be reached from other machines; set a token")


def test_addresses_and_headers_may_lie_in_secret_files(tmp_path: Path) -> None:
    for name, text in (("url", "https://ward.example/secret"), ("headers", "Authorization: Bearer a:b\nX-A: 1\n")):
        write(tmp_path / name, text).chmod(0o600)
    path = write(tmp_path / "run.toml", BASE + '[[alerts.webhooks]]\nurl_file = "url"\nheaders_file = "headers"\n')
    (webhook,) = read_configuration(path).alerts.webhooks
    assert webhook.url == "https://ward.example/secret"
    assert webhook.headers == (("Authorization", "Bearer a:b"), ("X-A", "1"))
    path.write_text(BASE + '[[alerts.webhooks]]\nurl_file = "url"\nurl = "http://a"\n')
    assert refused(path) == f"{path}:4: alerts.webhooks[0].url_file: contradicts url; leave one of them out"


def test_no_secret_is_shown(tmp_path: Path) -> None:
    write(tmp_path / "password", "s3cret").chmod(0o600)
    path = write(tmp_path / "run.toml", BASE + '[[alerts.mqtt]]\nhost = "b"\npassword_file = "password"\n')
    assert "s3cret" not in repr(read_configuration(path))


ODD = ["true", "0", "-1", "1.5", "nan", "inf", "-inf", '""', '"x"', '"~"', "[]", "[1]", '["a"]', "[[]]", "[{}]"]
ODD += ["{}", "{ a = 1 }", '{ a = "b" }', "1979-05-27", "07:32:00", '"\\u0000"', "9223372036854775807", "1e308"]


def keys(kind: Any = Configuration, where: str = "") -> Iterator[str]:
    """Every key that there is, those of lists of tables included."""
    for field in fields(kind):
        key = f"{where}.{field.name}".strip(".")
        yield key
        hint = get_type_hints(kind)[field.name]
        for inner in (hint, *get_args(hint)):
            if is_dataclass(inner):
                yield from keys(inner, f"{key}[]" if get_origin(hint) is tuple else key)


@pytest.mark.parametrize("key", sorted(keys()))
def test_odd_values_are_understood_or_refused_by_name(tmp_path: Path, key: str) -> None:
    above, _, name = key.rpartition(".")
    header = f"[[{above[:-2]}]]\n" if above.endswith("[]") else f"[{above}]\n" if above else ""
    for value in ODD:
        base = "" if name in ("folders", "out") and not above else BASE
        path = write(tmp_path / "run.toml", f"{base}{header}{name} = {value}\n")
        for problem in problems(path):
            assert problem.line or problem.wrong == "is missing", str(problem)


def problems(path: Path) -> tuple[Problem, ...]:
    """What is wrong with a file, if anything."""
    try:
        read_configuration(path)
    except ConfigurationError as error:
        return error.problems
    return ()


def test_lines_of_keys() -> None:
    text = 'a = 1\nb.c = """\nd = 2\n"""\n[e."f"]\n  g=3 # x\n[[h]]\ni = 4\n[[h]]\ni = [\n 5]\nj = { k = 6 }\n'
    assert key_lines(text) == {
        "a": 1,
        "b.c": 2,
        "e.f": 5,
        "e.f.g": 6,
        "h": 7,
        "h[0]": 7,
        "h[0].i": 8,
        "h[1]": 9,
        "h[1].i": 10,
        "h[1].j": 12,
    }
