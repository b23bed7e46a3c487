"""The progress bar on a terminal, and nothing elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class ProgressBar:
    """Shows bytes read and reads scored on standard error while entered; ``shown`` is False where it stays silent."""

    def __init__(self, size: int, *, wanted: bool = True) -> None:
        self.shown = wanted and sys.stderr.isatty()
        self._size = size
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressBar:
        if self.shown:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

            columns = [BarColumn(), DownloadColumn(), TimeRemainingColumn()] if self._size else []
            console = Console(stderr=True)
            self._progress = Progress(TextColumn("{task.description}"), *columns, console=console, transient=True)
            self._task = self._progress.add_task("reading", total=self._size or None)
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def update(self, bytes_read: int, reads: int, bases: int) -> None:
        """Moves the bar."""
        if self._progress is not None and self._task is not None:
            text = f"{reads:,} reads, {bases / 1e6:,.1f} Mb"
            self._progress.update(self._task, completed=bytes_read, description=text)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(text, err=True)
