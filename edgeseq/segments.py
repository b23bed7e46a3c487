"""Where the class changes along a read: chimeras, as segments that agree on a label.

The labels of the windows are a path through the classes; the best path is found by dynamic programming (Viterbi). Each
change of class costs `SWITCH` nats. That is as much as one window can be worth, so a single window, however sure, never
makes a segment: two neighbouring windows have to agree at an end of the read, and more evidence is asked for inside it,
where a segment costs two changes.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgeseq.aggregate import FLOOR, probabilities
from edgeseq.manifest import Task
from edgeseq.prediction import Scores, Segment

SWITCH = -FLOOR


def segments(scores: Scores, task: Task) -> tuple[Segment, ...]:
    """Two segments or more along the read, or none where one label explains it all.

    A segment's score is its label's probability over its own windows; a segment below the label's threshold is left
    out, and neighbours that then agree become one. Where windows overlap, a boundary lies in the middle of the overlap.
    """
    favourites = scores.windows.argmax(axis=1)
    if (favourites == favourites[0]).all():
        return ()
    with np.errstate(divide="ignore"):
        logs = np.clip(np.log(scores.windows.astype(np.float64)), FLOOR, 0.0)
    if logs.max(axis=1).sum() - logs.sum(axis=0).max() <= SWITCH:
        return ()
    edges = _edges(scores)
    owned = np.diff(edges) / (scores.ends - scores.starts)
    path = _best_path(logs * np.minimum(owned, 1.0)[:, None])
    changes = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), len(path)]
    found: list[Segment] = []
    for first, last in pairwise(changes):
        label = int(path[first])
        weights = (scores.ends - scores.starts)[first:last, None]
        score = float(probabilities((logs[first:last] * weights).sum(axis=0) / weights.sum(), task)[label])
        name = task.labels[label]
        if score < task.abstention.thresholds.get(name, task.abstention.minimum_score):
            continue
        start, end = int(edges[first]), int(edges[last])
        if found and found[-1].label == name:
            start, score = found[-1].start, min(found.pop().score, score)
        found.append(Segment(start, end, name, score))
    return tuple(found) if len(found) > 1 else ()


def _edges(scores: Scores) -> NDArray[np.float64]:
    """Boundaries between neighbouring windows, with the two outer ends: (windows + 1,), in bases."""
    inner = (scores.starts[1:] + scores.ends[:-1]) // 2
    return np.concatenate([scores.starts[:1], inner, scores.ends[-1:]]).astype(np.float64)


def _best_path(gains: NDArray[np.float64]) -> NDArray[np.int64]:
    """The label of each window on the path of greatest total gain, where each change costs `SWITCH`."""
    windows, labels = gains.shape
    stay = np.arange(labels)
    origins = np.empty((windows, labels), np.int64)
    total = gains[0]
    for window in range(1, windows):
        best = int(total.argmax())
        change = total[best] - SWITCH > total
        origins[window] = np.where(change, best, stay)
        total = np.where(change, total[best] - SWITCH, total) + gains[window]
    path = np.empty(windows, np.int64)
    path[-1] = total.argmax()
    for window in range(windows - 1, 0, -1):
        path[window - 1] = origins[window, path[window]]
    return path
