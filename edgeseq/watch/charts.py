"""Drawings as SVG text, for reports that need no script."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from edgeseq.prediction import UNCLASSIFIED
from edgeseq.watch.history import REST

COLOURS = 8
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 900, 180, 48, 20, 8


class Palette:
    """A colour for each label, the same everywhere: those that come first are told apart best."""

    def __init__(self, labels: Iterable[str], background: str) -> None:
        self._background = background
        classes = [label for label in labels if label not in (background, UNCLASSIFIED, REST)]
        self._colours = {label: f"var(--c{place % COLOURS})" for place, label in enumerate(classes)}

    def __getitem__(self, label: str) -> str:
        if label == self._background:
            return "var(--other)"
        if label == UNCLASSIFIED:
            return "var(--none)"
        return self._colours.get(label, "var(--rest)")

    def ordered(self, labels: Iterable[str]) -> list[str]:
        """Classes first, then the others, the background, and what was not called."""
        last = {REST: 1, self._background: 2, UNCLASSIFIED: 3}
        return sorted(labels, key=lambda label: last.get(label, 0))


def strip(counts: Mapping[str, int], palette: Palette) -> str:
    """One bar, cut by shares."""
    total, x, parts = sum(counts.values()), 0.0, []
    for label in palette.ordered(counts):
        width = 100 * counts[label] / total if total else 0.0
        title = f"<title>{escape(label)}: {counts[label]:,}</title>"
        parts.append(f'<rect x="{x:.2f}" width="{width:.2f}" height="10" fill="{palette[label]}">{title}</rect>')
        x += width
    return f'<svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img">{"".join(parts)}</svg>'


def interval(share: float, low: float, high: float, scale: float, colour: str) -> str:
    """A bar with its interval; ``scale`` is the share at the right end."""
    bar = f'<rect y="1" width="{100 * share / scale:.2f}" height="8" fill="{colour}"/>'
    place = f'x="{100 * low / scale:.2f}" width="{max(0.3, 100 * (high - low) / scale):.2f}"'
    return (
        f'<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{bar}'
        f'<rect {place} y="4.2" height="1.6" fill="var(--text)"/></svg>'
    )


def evidence(strength: float, threshold: float, *, detected: bool) -> str:
    """A bar that has reached the line in its middle where a class is detected."""
    width = min(100.0, 50 * strength / threshold)
    colour = "var(--found)" if detected else "var(--c1)"
    return (
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect width="100" height="10" fill="var(--wait-back)"/>'
        f'<rect y="2" width="{width:.2f}" height="6" fill="{colour}"/>'
        '<rect x="49.8" width="0.5" height="10" fill="var(--text)"/></svg>'
    )


def over_time(table: Mapping[str, Sequence[int]], start: float, seconds: float, palette: Palette) -> str:
    """Shares of the calls in each stretch of time, stacked; a stretch without reads is empty."""
    length = max(map(len, table.values()), default=0)
    sums = [sum(row[at] for row in table.values()) for at in range(length)]
    step, full = (WIDTH - LEFT) / max(length, 12), HEIGHT - BOTTOM - TOP
    base = [0] * length
    parts = []
    for label in palette.ordered(table):
        path = []
        for at, count in enumerate(table[label]):
            if count:
                unit = full / sums[at]
                x, y = LEFT + at * step, HEIGHT - BOTTOM - unit * (base[at] + count)
                path.append(f"M{x:.1f} {y:.1f}h{step * 0.94:.1f}v{unit * count:.2f}h-{step * 0.94:.1f}z")
                base[at] += count
        parts.append(f'<path d="{"".join(path)}" fill="{palette[label]}"><title>{escape(label)}</title></path>')
    end = start + max(length, 12) * seconds
    form = "%d %b %H:%M" if end - start > 43_200 else "%H:%M"
    marks = [(LEFT - 6, TOP + 9, "end", "100 %"), (LEFT - 6, HEIGHT - BOTTOM, "end", "0")]
    for x, anchor, when in (
        (LEFT, "start", start),
        ((LEFT + WIDTH) // 2, "middle", (start + end) / 2),
        (WIDTH, "end", end),
    ):
        marks.append((x, HEIGHT - 4, anchor, dt.datetime.fromtimestamp(when).strftime(form)))
    parts += [f'<text x="{x}" y="{y}" text-anchor="{anchor}">{words}</text>' for x, y, anchor, words in marks]
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg>'
