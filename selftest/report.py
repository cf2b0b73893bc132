"""Prints a result as tables."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from selftest.load.samples import WriteCounts
from selftest.run import SelftestResult, by_invariant

SHOWN_VIOLATIONS = 10
TIERS = ("redis", "postgresql", "clickhouse")
_NUMBERS = ("Redis", "PostgreSQL", "ClickHouse", "503", "silent", "max ms")


def show(result: SelftestResult, console: Console) -> None:
    """Print the load, its answers, and each invariant: held, or its violations."""
    console.print(_disturbances(result))
    console.print(
        f"{result.operations:,} operations of writers in {result.seconds:g} s, "
        f"{result.acknowledged:,} messages acknowledged, {result.edited_or_deleted:,} of them "
        f"edited or deleted; {result.totals.reads:,} reads; backlog drained "
        f"{result.quiet_seconds:g} s after the end; seed {result.seed}"
    )
    not_judged = by_invariant(result.not_judged)
    for invariant, broken in by_invariant(result.violations).items():
        violations = [*broken, *not_judged[invariant]]
        mark = "[bold red]BROKEN[/]" if broken else "[green]held  [/]"
        if not_judged[invariant] and not broken:
            mark = "[yellow]cannot judge[/]"
        console.print(f"{mark}  {invariant.value}", soft_wrap=True)
        for violation in violations[:SHOWN_VIOLATIONS]:
            facts = ", ".join(f"{name}={value}" for name, value in violation.evidence.items())
            console.print(f"        {escape(violation.what)}: {escape(facts)}", soft_wrap=True)
        if len(violations) > SHOWN_VIOLATIONS:
            console.print(f"        and {len(violations) - SHOWN_VIOLATIONS:,} more")


def _disturbances(result: SelftestResult) -> Table:
    table = Table(
        title="Writes meanwhile: acknowledged by tier, refused with 503, without an answer",
        box=SIMPLE_HEAD,
        padding=(0, 1),
    )
    table.add_column("disturbance", no_wrap=True)
    for heading in ("times", "s", *_NUMBERS):
        table.add_column(heading, justify="right")
    for each in result.disturbed:
        table.add_row(each.name, str(each.times), f"{each.seconds:.1f}", *_row(each.meanwhile))
    table.add_section()
    table.add_row("the whole run", "", f"{result.seconds:.1f}", *_row(result.totals))
    return table


def _row(figures: WriteCounts) -> list[str]:
    acknowledged = [f"{figures.acknowledged.get(tier, 0):,}" for tier in TIERS]
    rest = [f"{figures.unavailable:,}", f"{figures.unanswered:,}", f"{figures.slowest_ms:,.0f}"]
    return acknowledged + rest
