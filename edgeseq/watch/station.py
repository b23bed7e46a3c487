"""The daemon with everything around it, as a configuration says: opened, run, changed while it runs, and ended.

configuration ─▶ bundle ─▶ journal ─▶ daemon ─▶ live state, alerts, page
      ▲             ▲
      └── reload ───┘   all of a new configuration is taken over, or nothing of it
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseq.bundle import read_bundle
from edgeseq.errors import EdgeseqError, UsageError
from edgeseq.folder import MARKER
from edgeseq.manifest import Manifest
from edgeseq.scorer import Scorer, load
from edgeseq.watch.alerts import Alerts
from edgeseq.watch.config import Configuration
from edgeseq.watch.daemon import Daemon
from edgeseq.watch.journal import NAME, Journal, JournalError
from edgeseq.watch.journal_reader import JournalReader
from edgeseq.watch.live import Live
from edgeseq.watch.log import set_level
from edgeseq.watch.notify import Heartbeat, Notifier
from edgeseq.watch.page.settings import PageSettings
from edgeseq.watch.pidfile import PidFile
from edgeseq.watch.room import Room

RELOADED, REFUSED = "reloaded", "reload refused"
"""Kinds of events: the subject is what changed, or nothing."""
PRUNE = 300.0
"""Seconds between two looks at how many events there are."""
HANDED = 0.05
"""Seconds between two looks at whether the next scorer has taken over."""
FORKS = "fork-"

if TYPE_CHECKING:
    from edgeseq.watch.page.server import Page

_log = logging.getLogger(__name__)


class Station:
    """One run of ``edgeseq watch``. `run` blocks; `stop` and `reload` may be called from any thread or signal handler.

    ``reread`` gives the configuration again for a reload, or raises UsageError.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        reread: Callable[[], Configuration] | None = None,
        fork: bool = False,
        switch: bool = False,
        notifier: Notifier | None = None,
    ) -> None:
        """Opens everything. Raises what hinders it; then nothing is left open.

        Where the output folder was begun with other settings, ``fork`` goes on in a folder of its own below it, and
        ``switch`` takes the other settings over.
        """
        self.configuration = configuration
        self._reread = reread or (lambda: configuration)
        self._notifier = notifier or Notifier()
        self._wanted = threading.Event()
        self._ended = threading.Event()
        with ExitStack() as opened:
            self._open(opened, fork=fork, switch=switch)
            self._opened = opened.pop_all()

    def run(self) -> None:
        """Follows and scores until it is told to stop, or has been idle for long enough. Raises what ended it."""
        heartbeat = Heartbeat(self._notifier, lambda: self.daemon.progress.advanced, self.describe)
        keeper = threading.Thread(target=self._keep, name="edgeseq-keeper", daemon=True)
        with self._opened:
            self.live.start()
            self._opened.callback(self.live.close)
            self._serve()
            heartbeat.start()
            keeper.start()
            self._notifier.ready()
            _log.info("watching %s", ", ".join(map(str, self.configuration.folders)))
            try:
                self.daemon.run()
            finally:
                self._notifier.stopping()
                self._ended.set()
                self._wanted.set()
                keeper.join()
                heartbeat.stop()

    def stop(self) -> None:
        """Asks for an orderly end."""
        self.daemon.stop()

    def reload(self) -> None:
        """Asks for the configuration to be read again, soon."""
        self._wanted.set()

    def describe(self) -> str:
        """One line on how it is."""
        progress = self.daemon.progress
        line = f"{progress.reads:,} reads scored since the start, {self.daemon.files.backlog:,} bytes wait"
        return f"{line}; {progress.trouble}" if progress.trouble else line

    def _open(self, opened: ExitStack, *, fork: bool, switch: bool) -> None:
        wanted = self.configuration
        scorer = _scorer(wanted)
        opened.callback(scorer.close)
        check_classes(wanted, scorer.manifest)
        settings = _settings(wanted, scorer)
        self.out = _begin(wanted.out, settings, fork=fork)
        opened.callback(PidFile(self.out).close)
        self._journal = Journal(self.out, settings, accept=switch)
        opened.callback(self._journal.close)
        self._room = Room(wanted.out, wanted.disk, self._journal.path)
        roots = [str(folder) for folder in wanted.folders]
        self.daemon = Daemon(
            roots, scorer, self._journal, limits=wanted.limits, until_idle=wanted.until_idle, room=self._room.problem
        )
        opened.callback(self._close_scorer)
        alerts = Alerts(wanted.alerts, self._journal, self._about())
        self.live = Live(self.daemon, self._journal, wanted.questions, alerts, wanted.samples)
        self.page = _page(self.live, wanted.page)
        opened.callback(self._close_page)

    def _close_scorer(self) -> None:
        self.daemon.scorer.close()

    def _close_page(self) -> None:
        if self.page is not None:
            self.page.close()

    def _about(self) -> Mapping[str, str]:
        return {"run": ", ".join(map(str, self.configuration.folders)), "out": str(self.out)}

    def _keep(self) -> None:
        """The keeper's thread: reloads when that is asked for, and keeps the events within bounds."""
        while not self._ended.is_set():
            asked = self._wanted.wait(PRUNE)
            self._wanted.clear()
            if self._ended.is_set():
                return
            if asked:
                self._notifier.reloading()
                try:
                    self._take_over()
                except (EdgeseqError, OSError) as error:
                    self._refuse(str(error))
                self._notifier.ready()
            with suppress(JournalError):
                self._journal.prune(self.configuration.disk.events)

    def _refuse(self, why: str) -> None:
        for line in why.splitlines():
            _log.error("reload refused: %s", line)
        _log.error("the configuration that was there before stays in force")
        with suppress(JournalError):
            self._journal.note(REFUSED, "", why)

    def _take_over(self) -> None:
        """Puts a new configuration in the place of the present one, or raises and changes nothing."""
        old, new = self.configuration, self._reread()
        _check_fixed(old, new)
        with ExitStack() as made:
            scorer = self._next_scorer(old, new, made)
            check_classes(new, (scorer or self.daemon.scorer).manifest)
            alerts = Alerts(new.alerts, self._journal, self._about()) if new.alerts != old.alerts else None
            page = _page(self.live, new.page) if _place(new) != _place(old) else None
            made.callback(page.close if page is not None else bool)
            settings = _settings(new, scorer or self.daemon.scorer)
            self._journal.change(settings)
            made.pop_all()
        self.configuration = new
        self._replace_page(old, page)
        set_level(new.log_level)
        self._room.disk = new.disk
        self.daemon.load.limits = new.limits
        self.daemon.follow([str(folder) for folder in new.folders])
        if scorer is not None:
            self._hand_over(scorer)
        self.live.names = new.samples
        if alerts is not None:
            self.live.use(alerts)
        if scorer is not None or new.questions != old.questions:
            self.live.questions(new.questions)
        changed = [key for key in _keys(old) if getattr(old, key) != getattr(new, key)]
        if scorer is not None and "bundle" not in changed:
            changed.append("bundle")
        _log.info("configuration reloaded: %s", ", ".join(changed) or "nothing changed")
        with suppress(JournalError):
            self._journal.note(RELOADED, ", ".join(changed), "")

    def _hand_over(self, scorer: Scorer) -> None:
        """Has another scorer take over, and waits until it has: what was read before is scored by the old one."""
        self.daemon.switch(scorer)
        while self.daemon.scorer is not scorer and not self._ended.wait(HANDED):
            pass

    def _serve(self) -> None:
        if self.page is not None:
            self.page.start()
            _log.info("the page is at %s", self.page.address)

    def _replace_page(self, old: Configuration, page: Page | None) -> None:
        """Puts ``page`` in the place of the present one, or one with another token at the same address."""
        new = self.configuration
        if old.page == new.page:
            return
        self._close_page()
        try:
            self.page = _page(self.live, new.page) if _place(old) == _place(new) else page
        except UsageError as error:
            self.page = None
            _log.error("%s; there is no page until the next reload", error)
        self._serve()

    def _next_scorer(self, old: Configuration, new: Configuration, made: ExitStack) -> Scorer | None:
        """A tested scorer for the bundle that is configured now; None where it is the one that scores already."""
        now = self.daemon.scorer
        engine = (old.threads, old.provider) == (new.threads, new.provider)
        if engine and read_bundle(new.bundle).sha256 == now.bundle.sha256:
            return None
        scorer = _scorer(new)
        made.callback(scorer.close)
        if scorer.manifest.task.kind != now.manifest.task.kind:
            before, after = now.manifest.task.kind, scorer.manifest.task.kind
            raise UsageError(
                f"bundle: {scorer.bundle.path} is for {after}, the one that scores now for {before}; rows of "
                "both do not go together: start a run of its own for it, with another out"
            )
        return scorer


def check_classes(configuration: Configuration, manifest: Manifest) -> None:
    """Raises UsageError where a class is asked about that the bundle does not know, or that is its background."""
    task = manifest.task
    known = [label for label in task.labels if label != task.background]
    for name in configuration.questions.classes:
        if name not in known:
            raise UsageError(
                f"questions.classes: {manifest.name} has no class {name!r} to ask about; it has {', '.join(known)}"
            )


def _scorer(configuration: Configuration) -> Scorer:
    providers = [configuration.provider] if configuration.provider else None
    return load(configuration.bundle, threads=configuration.threads, providers=providers)


def _settings(configuration: Configuration, scorer: Scorer) -> dict[str, str]:
    """What a journal is begun with, and has to be gone on with."""
    roots = "\n".join(map(str, configuration.folders))
    return {"bundle": scorer.bundle.sha256, "task": scorer.manifest.task.kind, "roots": roots}


def _begin(out: Path, settings: Mapping[str, str], *, fork: bool) -> Path:
    """The output folder, marked as one: ``out``, or with ``fork`` the newest one at or below it with these settings, or
    a new one. Raises UsageError where it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / MARKER).touch()
        if fork and (out / NAME).exists():
            out = _forked(out, settings)
            out.mkdir(exist_ok=True)
            (out / MARKER).touch()
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror or error}") from error
    return out


def _forked(out: Path, settings: Mapping[str, str]) -> Path:
    numbers = [int(path.name[len(FORKS) :]) for path in out.glob(f"{FORKS}*") if path.name[len(FORKS) :].isdigit()]
    newest = max(numbers, default=1)
    for folder in (*[out / f"{FORKS}{number}" for number in sorted(numbers, reverse=True)], out):
        if not (folder / NAME).exists():
            return folder
        reader = JournalReader(folder)
        found = reader.settings()
        reader.close()
        if all(found.get(key) == value for key, value in settings.items()):
            return folder
    return out / f"{FORKS}{newest + 1}"


def _keys(configuration: Configuration) -> tuple[str, ...]:
    return tuple(configuration.__dataclass_fields__)


def _page(live: Live, settings: PageSettings | None) -> Page | None:
    if settings is None:
        return None
    from edgeseq.watch.page.server import Page

    return Page(live, settings)


def _place(configuration: Configuration) -> str:
    page = configuration.page
    return "" if page is None else f"{page.host}:{page.port}"


def _check_fixed(old: Configuration, new: Configuration) -> None:
    """Raises UsageError that names each key which cannot change while the daemon runs."""
    wrong = []
    if os.path.realpath(old.out) != os.path.realpath(new.out):
        wrong.append(f"out: was {old.out}, is {new.out}")
    if old.until_idle != new.until_idle:
        wrong.append(f"until_idle: was {old.until_idle}, is {new.until_idle}")
    if wrong:
        raise UsageError("\n".join(f"{one}; this needs a restart" for one in wrong))
