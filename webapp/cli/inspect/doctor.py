"""`threadkeep doctor`."""

import sys

import click
import msgspec
from rich.console import Console
from rich.text import Text

import settings
from jobs.monitor.doctor import examine
from storage.availability.checks.finding import Finding, Severity, found
from tasks.celery_app import app as celery
from wiring.process import Services

PING_SECONDS = 1.0
PATIENCE = {"database_job_timeout_seconds": 3.0, "clickhouse_job_timeout_seconds": 5.0}
_MARKS: dict[Severity | None, Text] = {
    None: Text("ok     ", "green"),
    "refuse": Text("REFUSE ", "bold red"),
    "weaker": Text("WEAKER ", "bold yellow"),
    "down": Text("DOWN   ", "bold red"),
    "advice": Text("PROBLEM", "bold red"),
}
"""The severity of a finding; docs/operations.md defines the words."""


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


def _findings() -> list[Finding]:
    try:
        # A server that is frozen is a finding as well, and a job's patience would keep it back.
        own = msgspec.structs.replace(settings.load(), **PATIENCE)
        services = Services(own)
    except settings.SettingsError as error:
        # Without settings there is nothing else to check.
        advice = "correct the environment, or name a running stack's file with --env-file"
        wrong = found("settings", "environment", False, error, advice, "refuse")
        return [wrong]
    return [*examine(services.tiers), check_workers()]


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
