"""Checks of a configuration against the machine that it is to run on; nothing is changed.

A check is a function that yields `Check` values, each of which also says what the run would do.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec

from edgeseq.bundle import Bundle, read_bundle
from edgeseq.errors import EdgeseqError, MissingExtraError
from edgeseq.health import Check
from edgeseq.watch.config import Configuration
from edgeseq.watch.journal import NAME, JournalError
from edgeseq.watch.journal_reader import JournalReader
from edgeseq.watch.pidfile import holder
from edgeseq.watch.room import Room, readable


def check_configuration(configuration: Configuration) -> Iterator[Check]:
    """All checks, one by one."""
    bundle, check = _bundle(configuration)
    yield check
    if bundle is not None:
        yield from _classes(configuration, bundle)
        yield from _journal(configuration, bundle)
    for other in CHECKS:
        yield from other(configuration)


def _bundle(configuration: Configuration) -> tuple[Bundle | None, Check]:
    """The bundle, verified and tested here."""
    from edgeseq.scorer import SCORED_KINDS, load

    try:
        bundle = read_bundle(configuration.bundle)
        providers = [configuration.provider] if configuration.provider else None
        with load(configuration.bundle, threads=configuration.threads, providers=providers) as scorer:
            how = f"on {scorer.provider} with {scorer.threads} threads"
    except EdgeseqError as error:
        problem, _, remedy = str(error).partition("; ")
        return None, Check("bundle", "fail", problem, remedy or "name a whole bundle, and a provider that is there")
    manifest = bundle.manifest
    if manifest.task.kind not in SCORED_KINDS or manifest.input.alphabet == "signal":
        seen = f"{manifest.name} is a {manifest.task.kind} model of {manifest.input.alphabet}"
        return bundle, Check("bundle", "fail", seen, "watch needs a model that gives a value for each read")
    seen = f"{manifest.name} {manifest.version}, {len(manifest.task.labels)} labels, {how}, reproduces its golden cases"
    return bundle, Check("bundle", "ok", seen)


def _classes(configuration: Configuration, bundle: Bundle) -> Iterator[Check]:
    """Whether the classes that are asked about exist, and how the error rates are shared."""
    from edgeseq.watch.station import check_classes

    questions = configuration.questions
    try:
        check_classes(configuration, bundle.manifest)
    except EdgeseqError as error:
        problem, _, remedy = str(error).partition("; ")
        yield Check("questions", "fail", problem, remedy)
        return
    task = bundle.manifest.task
    asked = len(questions.classes) or sum(name != task.background for name in task.labels)
    seen = (
        f"{asked} classes in up to {questions.barcodes} barcodes, at least {questions.least:.2%} of the reads; "
        f"a false alarm in {questions.alpha:.2%} of runs at most"
    )
    if not asked:
        yield Check("questions", "warn", "the bundle has no classes: nothing is ever detected")
    elif not questions.control:
        yield Check("questions", "ok", f"{seen}; no negative control")
    else:
        yield Check("questions", "ok", f"{seen}; {questions.control} is the negative control")


def _journal(configuration: Configuration, bundle: Bundle) -> Iterator[Check]:
    """Whether a journal that is there was begun with the same bundle and folders."""
    if not (configuration.out / NAME).is_file():
        return
    try:
        reader = JournalReader(configuration.out)
        found = reader.settings()
        reader.close()
    except JournalError as error:
        yield Check("journal", "fail", str(error), "")
        return
    wanted = {"bundle": bundle.sha256, "roots": "\n".join(map(str, configuration.folders))}
    others = [key for key, value in wanted.items() if found.get(key) != value]
    process = holder(configuration.out)
    if process is not None and others:
        seen = f"process {process} runs with another {' and other '.join(others)}"
        yield Check("journal", "ok", f"{seen}; it takes this over when it gets SIGHUP")
    elif others:
        seen = f"{configuration.out} was begun with another {' and other '.join(others)}"
        yield Check("journal", "fail", seen, "go on in it with --switch, beside it with --fork, or name another out")
    else:
        yield Check("journal", "ok", f"{configuration.out} is gone on with")


def _folders(configuration: Configuration) -> Iterator[Check]:
    """Whether the folders are there, or can appear."""
    for folder in configuration.folders:
        parent = folder.parent
        if folder.is_dir():
            if os.access(folder, os.R_OK | os.X_OK):
                yield Check("folder", "ok", f"{folder} is followed")
            else:
                remedy = "give the user of the service the right to read it"
                yield Check("folder", "fail", f"{folder} cannot be read", remedy)
        elif folder.exists():
            yield Check("folder", "fail", f"{folder} is no folder", "name the folder that holds the run")
        elif parent.is_dir():
            yield Check("folder", "warn", f"{folder} is not there yet; it is followed once it is")
        else:
            yield Check("folder", "fail", f"{parent} is not there either", "check the path, or mount the disk")


def _out(configuration: Configuration) -> Iterator[Check]:
    """Whether the output folder can be written, and how much."""
    out = configuration.out
    folder = next(one for one in (out, *out.absolute().parents) if one.exists())
    most = configuration.disk.max_bytes
    disk = configuration.disk if folder == out else replace(configuration.disk, max_bytes=None)
    if not folder.is_dir():
        yield Check("out", "fail", f"{folder} is no folder", "name another output folder")
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield Check("out", "fail", f"{folder} cannot be written", "make it, and give it to the user of the service")
    elif problem := Room(folder, disk).problem(0):
        yield Check("out", "fail", f"{out}: {problem.partition('; ')[0]}", "make room, or change [disk]")
    else:
        bound = f", of which {readable(most)} may be used" if most is not None else ""
        yield Check("out", "ok", f"{out}, {readable(Room(folder, disk).free())} free{bound}")


def _page(configuration: Configuration) -> Iterator[Check]:
    """Whether the page's port is free."""
    page = configuration.page
    if page is None:
        return
    where = f"{page.host} port {page.port}"
    for package in ("prometheus_client", "starlette", "uvicorn"):
        if find_spec(package) is None:
            yield Check("page", "fail", *str(MissingExtraError(package, "dashboard")).split("; ", 1))
            return
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(page.host, page.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        process = holder(configuration.out)
        if process is not None:
            yield Check("page", "ok", f"on {where}, which is taken, and process {process} runs this configuration")
        else:
            yield Check(
                "page", "fail", f"{where}: {error.strerror or error}", "choose another port, or end what uses it"
            )
    else:
        yield Check("page", "ok", f"on {where}, {'with a token' if page.token else 'for this machine alone'}")


def _alerts(configuration: Configuration) -> Iterator[Check]:
    """Whether channels of alerts can be opened; nobody is told anything."""
    channels = configuration.alerts.channels()
    if not channels:
        yield Check("alerts", "warn", "nobody is told of what is detected", "add a channel, or log = true, to [alerts]")
    for name, channel in channels.items():
        try:
            channel.open().close()
        except EdgeseqError as error:
            problem, _, remedy = str(error).partition("; ")
            yield Check("alerts", "fail", f"{name}: {problem}", remedy)
        else:
            yield Check("alerts", "ok", name)


CHECKS: tuple[Callable[[Configuration], Iterator[Check]], ...] = (_folders, _out, _page, _alerts)
"""What is checked besides the bundle, in the order in which it is shown."""
