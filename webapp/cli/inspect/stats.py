"""`threadkeep stats`: rows and size per tier, health, and current throughput."""

import sys
import time
from collections.abc import Iterator

import click
import msgspec
import requests
from rich.console import Console
from rich.live import Live

import settings
from jobs.monitor.figures import StoreFigures, figures
from jobs.monitor.stats import Stats, gather
from webapp.cli.inspect.rates import Rates, Scrape, rates
from webapp.cli.inspect.stats_tables import moment, stored
from webapp.cli.operator import operator
from webapp.http.auth import Tokens
from wiring.process import Services

SCRAPE_SECONDS = 5.0
TOKEN_SECONDS = 60


class Moment(msgspec.Struct, frozen=True):
    """Health, and rates per second; None where the API does not answer."""

    now: StoreFigures
    rates: Rates | None


class Everything(msgspec.Struct, frozen=True):
    """What `--json` prints: the figures of the store, and the current ones."""

    redis: object
    postgresql: object
    clickhouse: object
    down: dict[str, str]
    now: StoreFigures
    rates: Rates | None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch a line each time.")
@click.option("--watch", is_flag=True, help="Refresh health and throughput until Ctrl-C.")
@click.option(
    "--every", type=click.FloatRange(0.2, 3600), default=1.0, show_default=True, metavar="SECONDS",
    help="The period of the rates, and between two refreshes of --watch.",
)  # fmt: skip
def stats(as_json: bool, watch: bool, every: float) -> None:
    """Show rows and size per tier, health, and current throughput."""
    services = Services(settings.load())
    if watch:
        _watch(_moments(services, every), as_json=as_json)
        return
    now = next(_moments(services, every))
    found = gather(services.tiers, services.performance.snapshots.take())
    if as_json:
        tiers = (found.redis, found.postgresql, found.clickhouse)
        click.echo(msgspec.json.encode(Everything(*tiers, found.down, now.now, now.rates)))
    else:
        _show(found, now)
    if found.down:
        sys.exit(1)


def _show(found: Stats, now: Moment) -> None:
    console = Console(highlight=False)
    console.print(stored(found))
    console.print(moment(now.now, now.rates))
    for tier, reason in found.down.items():
        click.echo(f"threadkeep: {tier} does not answer: {reason}", err=True)


def _watch(moments: Iterator[Moment], *, as_json: bool) -> None:
    try:
        if as_json:
            for one in moments:
                click.echo(msgspec.json.encode(one))
            return
        with Live(console=Console(highlight=False), auto_refresh=False) as screen:
            for one in moments:
                screen.update(moment(one.now, one.rates), refresh=True)
    except KeyboardInterrupt:
        # Ctrl-C ends --watch.
        return


def _moments(services: Services, every: float) -> Iterator[Moment]:
    """Health, each time with the rates since the last one."""
    performance = services.performance
    before = _scrape(services)
    while True:
        time.sleep(every)
        after = _scrape(services)
        known = rates(before, after) if before and after else None
        seen = performance.snapshots.take()
        yield Moment(figures(seen, performance.monitor.firing()), known)
        before = after


def _scrape(services: Services) -> Scrape | None:
    """The counters of the API's processes, None if it does not answer."""
    url = services.settings.api_url
    if not url:
        return None
    if services.settings.jwt_secrets:
        tokens = Tokens(services.settings)
        token = tokens.issue(operator(), is_admin=True, ttl_seconds=TOKEN_SECONDS)
    else:
        token = services.settings.metrics_token
    try:
        with requests.Session() as session:
            session.trust_env = False
            headers = {"Authorization": f"Bearer {token}"}
            answer = session.get(f"{url}/metrics", headers=headers, timeout=SCRAPE_SECONDS)
            answer.raise_for_status()
    except requests.RequestException:
        return None
    return Scrape.of(answer.text, time.monotonic())
