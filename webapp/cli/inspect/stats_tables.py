"""The figures of `threadkeep stats` as tables."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.monitor.figures import Queue, StoreFigures
from jobs.monitor.stats import ClickHouseFigures, PostgresFigures, RedisFigures, Stats
from webapp.cli.inspect.rates import Rates
from webapp.cli.terminal import TIERS


def moment(figures: StoreFigures, rates: Rates | None) -> Group:
    """Health, and rates per second if the API answers."""
    progress = figures.progress
    style = "" if progress.is_ok else "bold red"
    line = Text(f"{'moves on' if progress.is_ok else 'NO PROGRESS'}: {progress.detail}", style)
    parts: list[RenderableType] = [line, _tiers(figures), _others(figures)]
    return Group(*parts, *([_rates(rates)] if rates else []))


def _tiers(figures: StoreFigures) -> Table:
    table = _headed("", "answers", "breaker", "latency", "waiting to go on", "oldest")
    waiting = {"redis": "pending_log", "postgresql": "outbox"}
    for tier, one in figures.tiers.items():
        queue = figures.queues.get(waiting.get(tier, ""))
        table.add_row(
            TIERS[tier],
            Text("yes") if one.is_up else Text(one.reason or "no", "bold red"),
            one.breaker,
            _milliseconds(one.seconds and one.seconds * 1000),
            f"{queue.entries:,}" if queue else "",
            _age(queue.oldest_seconds) if queue and queue.entries else "",
        )
    return table


def _others(figures: StoreFigures) -> Table:
    table = _headed("", "")
    queues, letters = figures.queues, figures.dead_letters
    memory, limit = figures.redis_memory_bytes, figures.redis_memory_limit_bytes
    score = figures.data_consistency_score
    rows = {
        "firing alerts": ", ".join(figures.alerts),
        "a worker looked": _age(figures.look_seconds, " ago"),
        "missing in Redis": _count(queues.get("redis_backfill")),
        "only in ClickHouse": _count(queues.get("direct_writes")),
        "dead letters": _count(letters),
        "Redis memory": ""
        if memory is None
        else f"{_size(memory)} of {_size(limit) if limit else 'no limit'}",
        "data consistency": ""
        if score is None
        else f"{score:.6g} %, {_age(figures.data_consistency_age_seconds, ' ago')}",
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    return table


def _rates(own: Rates) -> Table:
    table = _headed("a second", "")
    latency = f"p50 {_milliseconds(own.p50_ms)}, p95 {_milliseconds(own.p95_ms)}"
    rows = {
        "acknowledged": ", ".join(
            f"{TIERS[tier]} {rate:,.1f}" for tier, rate in own.acknowledged.items()
        ),
        "until acknowledged": latency if own.p50_ms is not None else "",
        "refused": f"{own.refused:,.1f}",
        "failed over": f"{own.failed_over:,.1f}",
        "persisted": f"{own.persisted:,.1f}",
        "replicated": f"{own.replicated:,.1f}",
        "reads": f"{own.reads:,.1f}"
        + (f", {own.cache_hits:.1%} from Redis" if own.cache_hits is not None else ""),
        "requests": f"{own.requests:,.1f}, failed {own.requests_failed:,.1f}",
        "sockets open": f"{own.sockets:,}",
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    return table


def _headed(*headings: str) -> Table:
    table = Table(title_justify="left")
    for at, heading in enumerate(headings):
        table.add_column(heading, justify="right" if at else "left")
    return table


def stored(figures: Stats) -> Table:
    """Rows and size per tier."""
    table = Table(title="Threadkeep")
    for heading in ("", "Redis", "PostgreSQL", "ClickHouse"):
        table.add_column(heading, justify="right" if heading else "left")
    tiers = (_redis(figures.redis), _postgres(figures.postgresql), _clickhouse(figures.clickhouse))
    for row in dict.fromkeys(name for tier in tiers for name in tier):
        table.add_row(row, *(tier.get(row, "") for tier in tiers))
    return table


def _redis(own: RedisFigures | None) -> dict[str, str]:
    if own is None:
        return {"messages": "down"}
    limit = _size(own.memory_limit_bytes) if own.memory_limit_bytes else "no limit"
    return {
        "messages": f"{own.messages:,} hot",
        "waiting for the next tier": f"{own.pending:,}",
        "oldest waiting": f"{own.oldest_pending_seconds:.1f} s",
        "size on disk": _size(own.bytes_on_disk),
        "memory": f"{_size(own.memory_bytes)} of {limit}",
    }


def _postgres(own: PostgresFigures | None) -> dict[str, str]:
    if own is None:
        return {"messages": "down"}
    return {
        "messages": f"{own.messages:,}",
        "tombstones": f"{own.tombstones:,}",
        "threads": f"{own.threads:,}",
        "waiting for the next tier": f"{own.outbox:,}",
        "dead letters": f"{own.dead_letters:,}",
        "size on disk": _size(own.bytes_on_disk),
        "partitions, parts": f"{own.partitions:,}",
    }


def _clickhouse(own: ClickHouseFigures | None) -> dict[str, str]:
    if own is None:
        return {"messages": "down"}
    return {
        "messages": f"{own.messages:,}",
        "stored rows": f"{own.stored_rows:,}",
        "size on disk": _size(own.bytes_on_disk),
        "partitions, parts": f"{own.parts:,}",
        "compression": f"{own.compression:.1f} : 1",
    }


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"


def _count(queue: Queue | None) -> str:
    if queue is None:
        return ""
    oldest = _age(queue.oldest_seconds) if queue.entries else ""
    return f"{queue.entries:,}" + (f", oldest {oldest}" if oldest else "")


def _age(seconds: float | None, behind: str = "") -> str:
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.1f} s{behind}"
    if seconds < 7200:
        return f"{seconds / 60:,.0f} min{behind}"
    return f"{seconds / 3600:,.0f} h{behind}"


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} ms"
