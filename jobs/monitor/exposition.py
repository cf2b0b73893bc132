"""What a scrape is answered: what was counted, and the figures of this moment as gauges."""

from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client import Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily

from jobs.monitor.alerts.rules import PRIORITIES
from jobs.monitor.figures import StoreFigures
from storage.telemetry.instruments import Instruments
from storage.telemetry.processes import registry_of


class Gauge(NamedTuple):
    """A gauge: what it says, and its labels, if it has any."""

    meaning: str
    labels: tuple[str, ...] = ()


GAUGES = {
    "tier_up": Gauge("Whether a tier answers", ("tier",)),
    "tier_latency_seconds": Gauge("How long a tier takes to answer at all", ("tier",)),
    "queue_entries": Gauge("What waits to be carried on", ("queue",)),
    "queue_oldest_seconds": Gauge("For how long the oldest of it has", ("queue",)),
    "alerts_active": Gauge("Alerts that stand", ("type", "priority")),
    "progress": Gauge("Whether the log moves on"),
    "look_age_seconds": Gauge("How long ago a worker looked at the log"),
    "redis_memory_bytes": Gauge("Memory that Redis uses"),
    "redis_memory_limit_bytes": Gauge("Memory that Redis may use, 0 for all there is"),
    "dead_letters": Gauge("Writes that PostgreSQL refused and nobody has seen to"),
    "dead_letters_oldest_seconds": Gauge("For how long the oldest of them has waited"),
    "acknowledged_lost": Gauge("Messages that a Redis which lost its disk took along"),
    "checks_running": Gauge("Checks of the tiers at work"),
    "data_consistency_score": Gauge(
        "How much of what was last compared agreed, in per cent, at best 100"
    ),
    "data_consistency_age_seconds": Gauge("How long ago that was"),
}
"""By their names behind `threadkeep_`."""

_Values = dict[tuple[str, ...], float | int | None]


class _Moment(NamedTuple):
    """The figures as Prometheus collects them; what is not known is absent."""

    figures: StoreFigures

    def collect(self) -> Iterator[Metric]:
        values = _values(self.figures)
        for name, gauge in GAUGES.items():
            family = GaugeMetricFamily(f"threadkeep_{name}", gauge.meaning, labels=gauge.labels)
            found = values[name] if name in values else {(): getattr(self.figures, name)}
            for labels, value in found.items():
                if value is not None:
                    family.add_metric(labels, value)
            if family.samples:
                yield family


def exposition(own: Instruments, folder: str, figures: StoreFigures) -> bytes:
    """What was counted and the figures of this moment, in Prometheus's text format."""
    return generate_latest(registry_of(own, folder)) + generate_latest(_Moment(figures))


def _values(figures: StoreFigures) -> dict[str, _Values]:
    """By gauge and labels, but of gauges that are named as their figure is. Alerts of which none
    fires are 0, so that one shows as a rise."""
    letters = figures.dead_letters
    return {
        "tier_up": {(tier,): int(one.is_up) for tier, one in figures.tiers.items()},
        "tier_latency_seconds": {(tier,): one.seconds for tier, one in figures.tiers.items()},
        "queue_entries": {(name,): one.entries for name, one in figures.queues.items()},
        "queue_oldest_seconds": {
            (name,): one.oldest_seconds for name, one in figures.queues.items()
        },
        "alerts_active": {
            (kind, priority): figures.alerts.get(kind, {}).get(priority, 0)
            for kind, priorities in PRIORITIES.items()
            for priority in priorities
        },
        "progress": {(): int(figures.progress.is_ok)},
        "look_age_seconds": {(): figures.look_seconds},
        "dead_letters": {(): letters.entries if letters else None},
        "dead_letters_oldest_seconds": {(): letters.oldest_seconds if letters else None},
    }
