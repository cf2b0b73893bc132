"""`threadkeep doctor` and `threadkeep stats`."""

import sys

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

import settings
from storage.doctor.examine import examine
from storage.doctor.finding import Finding, Severity, found
from storage.services import Services
from storage.stats import ClickHouseFigures, PostgresFigures, RedisFigures, Stats, gather
from tasks.celery_app import app as celery

PING_SECONDS = 1.0
_MARKS: dict[Severity | None, Text] = {
    None: Text("ok     ", "green"),
    "refuse": Text("REFUSE ", "bold red"),
    "weaker": Text("WEAKER ", "bold yellow"),
    "down": Text("DOWN   ", "bold red"),
    "advice": Text("PROBLEM", "bold red"),
}
"""How bad a finding is; `docs/operations.md` says what each word means."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> None:
    """Check every server, setting and clock, and say what to do.

    Exit status 0 if all is well, 1 if a problem was found.
    """
    findings = _findings()
    if as_json:
        click.echo(msgspec.json.encode(findings))
    else:
        _show(findings)
    if not all(finding.ok for finding in findings):
        sys.exit(1)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def stats(as_json: bool) -> None:
    """Show how much is where, how much waits, and how much room it takes."""
    figures = gather(Services(settings.load()))
    if as_json:
        click.echo(msgspec.json.encode(figures))
    else:
        _console().print(_table(figures))
        for tier, reason in figures.down.items():
            click.echo(f"threadkeep: {tier} does not answer: {reason}", err=True)
    if figures.down:
        sys.exit(1)


def _findings() -> list[Finding]:
    try:
        services = Services(settings.load())
    except settings.SettingsError as error:
        # Without settings there is nothing else to look at.
        wrong = found("settings", "environment", False, error, "correct the environment", "refuse")
        return [wrong]
    return [*examine(services), check_workers()]


def check_workers() -> Finding:
    """Whether a worker answers; without one nothing gets past Redis."""
    try:
        replies = celery.control.ping(timeout=PING_SECONDS)
    except Exception as error:
        # Whatever the broker's driver raises, the finding is the same.
        replies, value = [], f"the broker does not answer: {type(error).__name__}"
    else:
        value = f"{len(replies or [])} answered"
    advice = "start one: celery -A tasks.celery_app worker (see the Procfile)"
    return found("worker", "answers", bool(replies), value, advice)


def _show(findings: list[Finding]) -> None:
    console = _console()
    for finding in findings:
        mark = _MARKS[finding.severity]
        line = Text.assemble(mark, f"  {finding.tier:<10}  {finding.check}: {finding.found}")
        if finding.promise:
            line.append(f" - no longer promised: {finding.promise}")
        if finding.advice:
            line.append(f" - {finding.advice}")
        console.print(line, soft_wrap=True)
    problems = sum(not finding.ok for finding in findings)
    click.echo(f"{problems} problems" if problems != 1 else "1 problem")
    if any(finding.severity == "refuse" for finding in findings):
        click.echo("no process starts as long as a line above says REFUSE")


def _console() -> Console:
    return Console(highlight=False)


def _table(figures: Stats) -> Table:
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
