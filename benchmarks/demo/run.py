"""Real input: 258,145 messages of 7,168 conversations through all tiers and back.

`python -m benchmarks.demo` starts a stack of its own, posts some conversations live, imports the
rest at their original times, reads everything back and compares it with the source, byte for
byte. Exit status 1 if anything is missing, doubled or different.
"""

import random
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

import settings
from benchmarks.demo.carrying import CarriedPart, Landed, import_rest, post_live
from benchmarks.demo.live_clients import Clients, Posted
from benchmarks.demo.reading_back import ReadBack, read_back
from benchmarks.stack import ephemeral_stack
from jobs.transfer.formats import chitchat
from selftest.bed.launching import StackFailed
from webapp.http.auth import Tokens
from wiring.process import Services

LIVE_CONVERSATIONS = 300
CLIENTS = 16
SNAPSHOT_SECONDS = 300.0


def main() -> int:
    """Runs the demo; gives the exit status."""
    say = Console(stderr=True, highlight=False).print
    conversations = chitchat.read(files("chitchat_dataset").joinpath("dataset.json").read_bytes())
    live = _choose(conversations)
    rest = {name: conversations[name] for name in conversations if name not in live}
    say("starting a stack of its own")
    try:
        with ephemeral_stack() as env:
            services = _services(env)
            clients = Clients(env["API_URL"], Tokens(services.settings), CLIENTS)
            say(f"posting {len(live)} conversations over HTTP with {CLIENTS} clients")
            posted, live_part = post_live(services, clients, live)
            say(f"importing the other {len(rest):,} at their original times")
            rest_part = import_rest(services, rest, live_part.messages)
            say("reading everything back")
            result = read_back(services, clients, live, rest)
    except StackFailed as error:
        say(str(error), markup=False)
        return 1
    Console(highlight=False).print(_table(posted, live_part, rest_part, result))
    return 1 if result.wrong or posted.refused else 0


def _services(env: Mapping[str, str]) -> Services:
    """The tiers of the stack, with time limits that let PostgreSQL sort everything."""
    own = settings.load(env)
    return Services(msgspec.structs.replace(own, database_job_timeout_seconds=SNAPSHOT_SECONDS))


def _choose(conversations: chitchat.Conversations) -> dict[str, Any]:
    """The same conversations every time, without empty messages, which the API refuses."""
    postable = sorted(name for name, one in conversations.items() if _is_postable(one))
    chosen = random.Random(0).sample(postable, LIVE_CONVERSATIONS)
    return {name: conversations[name] for name in chosen}


def _is_postable(conversation: Any) -> bool:
    return all(one["text"] for turn in conversation["messages"] for one in turn)


def _table(posted: Posted, live: CarriedPart, rest: CarriedPart, result: ReadBack) -> Table:
    table = Table(title="ChitChat through Redis, PostgreSQL and ClickHouse, and back")
    table.add_column("")
    for heading in ("posted live", "imported", "all"):
        table.add_column(heading, justify="right")
    counts = (live.conversations, rest.conversations, live.conversations + rest.conversations)
    table.add_row("conversations", *(f"{count:,}" for count in counts))
    table.add_row(
        "messages acknowledged",
        f"{live.messages:,}",
        f"{rest.messages:,}",
        f"{live.messages + rest.messages:,}",
    )
    table.add_row("refused", f"{posted.refused:,}", "", "")
    table.add_row("a second", *(f"{part.messages / part.seconds:,.0f}" for part in (live, rest)))
    for share in (50, 95, 99):
        latency = _percentile(posted.latencies_ms, share)
        table.add_row(f"acknowledgement p{share}", f"{latency:.1f} ms")
    table.add_section()
    _add_landed(table, "PostgreSQL", live.postgres, rest.postgres)
    _add_landed(table, "ClickHouse", live.clickhouse, rest.clickhouse)
    table.add_section()
    _add_tallies(table, result)
    return table


def _add_landed(table: Table, tier: str, *parts: Landed) -> None:
    table.add_row(f"landed in {tier} a second", *(f"{part.per_second:,.0f}" for part in parts))
    lags = (
        "not in time" if part.lag_seconds is None else f"{part.lag_seconds:.2f} s" for part in parts
    )
    table.add_row(f"{tier}, all there after the last", *lags)


def _add_tallies(table: Table, result: ReadBack) -> None:
    api, export = result.api, result.export
    for name, mine, its in (
        ("verified (live: API, all: export)", api.verified, export.verified),
        ("missing", api.missing, export.missing),
        ("doubled", api.doubled, export.doubled),
        ("different", api.different, export.different),
    ):
        table.add_row(name, f"{mine:,}", "", f"{its:,}")
    table.add_row("ClickHouse's copy verified", "", "", f"{result.clickhouse.verified:,}")
    table.add_row("ClickHouse's copy different", "", "", f"{result.clickhouse.wrong:,}")
    style = "bold red" if result.wrong else "bold green"
    table.add_row("wrong", "", "", f"{result.wrong:,}", style=style)


def _percentile(values: list[float], share: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * share // 100)] if ordered else 0.0
