"""A snapshot in the text format of Prometheus.

A class of a barcode without data has no ``edgeseq_detected`` at all: 0 means that it is not detected at so many reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from edgeseq.watch.evidence import Answer

CONTENT_TYPE = CONTENT_TYPE_LATEST
STATES = ("running", "waiting", "behind", "stalled", "trouble", "ended")
_GAUGES = {
    "backlog_bytes": ("backlog_bytes", "Bytes in the files that were not read yet"),
    "backlog_seconds": ("backlog_seconds", "For how long the oldest of them have been waiting"),
    "quiet_seconds": ("quiet_seconds", "For how long nothing has advanced"),
    "files": ("files", "Files that are followed"),
    "damaged_files": ("damaged_files", "Files of which nothing more can be read"),
    "disk_free": ("disk_free_bytes", "Free bytes where results go"),
    "memory": ("memory_bytes", "Memory that the daemon holds"),
    "temperature": ("temperature_celsius", "Temperature of the processor"),
}
_COUNTERS = {
    "skipped": ("skipped_reads", "Reads that were not scored for want of time, since the start"),
    "shortened": ("shortened_reads", "Reads of which only the first bases were scored, since the start"),
    "duplicates": ("duplicate_reads", "Reads that came again and were not counted, since the start"),
}


def exposition(told: dict[str, Any]) -> bytes:
    """What ``/metrics`` answers."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(told))
    return generate_latest(registry)


class _Told(Collector):
    def __init__(self, told: dict[str, Any]) -> None:
        self._told = told

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from _whole(self._told)
        yield from _health(self._told["health"])
        yield from _samples(self._told)
        yield from _answers(self._told)
        yield from _alerts(self._told)


def _whole(told: dict[str, Any]) -> Iterator[Metric]:
    bundle = told["bundle"]
    facts = {"version": told["version"], "bundle": bundle["name"], "bundle_version": bundle["version"]}
    yield InfoMetricFamily("edgeseq", "What scores", value={**facts, "bundle_sha256": bundle["sha256"]})
    states = GaugeMetricFamily("edgeseq_state", "1 for the state that holds", labels=["state"])
    for state in STATES:
        states.add_metric([state], float(told["state"] == state))
    yield states
    yield GaugeMetricFamily("edgeseq_reads_per_second", "Over the last minute", value=told["rates"]["reads"])
    yield GaugeMetricFamily("edgeseq_bases_per_second", "Over the last minute", value=told["rates"]["bases"])
    yield GaugeMetricFamily("edgeseq_start_time_seconds", "When the daemon started", value=told["started"])


def _health(health: dict[str, Any]) -> Iterator[Metric]:
    for key, (name, words) in _GAUGES.items():
        if health[key] is not None:
            yield GaugeMetricFamily(f"edgeseq_{name}", words, value=health[key])
    for key, (name, words) in _COUNTERS.items():
        yield CounterMetricFamily(f"edgeseq_{name}", words, value=health[key])
    latency = GaugeMetricFamily("edgeseq_latency_seconds", "From the flush of a read to its row", labels=["quantile"])
    for key, quantile in (("latency_p50", "0.5"), ("latency_p99", "0.99")):
        if health[key] is not None:
            latency.add_metric([quantile], health[key])
    yield latency
    policy = GaugeMetricFamily("edgeseq_policy", "1 for how much of each read is scored now", labels=["policy"])
    for name in ("all", "prefix", "sample"):
        policy.add_metric([name], float(health["policy"] == name))
    yield policy


def _samples(told: dict[str, Any]) -> Iterator[Metric]:
    reads = CounterMetricFamily("edgeseq_reads", "Reads by what they were called", labels=["barcode", "label"])
    bases = CounterMetricFamily("edgeseq_bases", "Bases of all reads", labels=["barcode"])
    for barcode, sample in told["samples"].items():
        bases.add_metric([barcode], sample["bases"])
        for label, count in sample["labels"].items():
            reads.add_metric([barcode, label], count)
    yield reads
    yield bases


def _answers(told: dict[str, Any]) -> Iterator[Metric]:
    names = ["barcode", "label"]
    detected = GaugeMetricFamily("edgeseq_detected", "1 detected, 0 not detected at so many reads", labels=names)
    tested = GaugeMetricFamily("edgeseq_tested_reads", "Reads that could be called", labels=["barcode"])
    strength = GaugeMetricFamily("edgeseq_evidence", "Powers of ten of evidence against the background", labels=names)
    for barcode, sample in told["samples"].items():
        tested.add_metric([barcode], sample["tested"])
        for one in sample["answers"]:
            if one["answer"] != Answer.NO_DATA:
                detected.add_metric([barcode, one["label"]], float(one["answer"] == Answer.DETECTED))
                strength.add_metric([barcode, one["label"]], one["strength"])
    threshold = GaugeMetricFamily("edgeseq_evidence_threshold", "Where a class is detected", labels=["label"])
    for one in told["questions"]["classes"]:
        threshold.add_metric([one["label"]], one["threshold"])
    yield from (detected, tested, strength, threshold)


def _alerts(told: dict[str, Any]) -> Iterator[Metric]:
    kinds: dict[str, CounterMetricFamily | GaugeMetricFamily] = {
        "delivered": CounterMetricFamily("edgeseq_alerts_delivered", "Messages", labels=["channel"]),
        "failed": CounterMetricFamily("edgeseq_alerts_failed", "Attempts that failed", labels=["channel"]),
        "dropped": CounterMetricFamily("edgeseq_alerts_dropped", "Put off to the next start", labels=["channel"]),
        "waiting": GaugeMetricFamily("edgeseq_alerts_waiting", "Detections not told yet", labels=["channel"]),
    }
    for one in told["alerts"]:
        for key, metric in kinds.items():
            metric.add_metric([one["name"]], one[key])
    yield from kinds.values()
