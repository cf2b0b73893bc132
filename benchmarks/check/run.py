"""Do checks find everything, and what do they cost?

`python -m benchmarks.check` starts a stack of its own, imports 258,145 messages, checks them, then
damages 1,000 at random in the three tiers and has them named and repaired. Exit status 1 if damage
is not named, anything else is, or anything is not as it was before.
"""

import statistics
import time
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from sqlalchemy import text

import settings
from benchmarks.check.counting import counted
from benchmarks.check.spoiling import WAYS, MessageVersions, bury, drawn, edit, heat, shares
from benchmarks.demo.carrying import import_rest
from benchmarks.stack import ephemeral_stack
from jobs.consistency.report import ConsistencyReport
from jobs.transfer.formats import chitchat
from selftest.bed.launching import StackFailed
from settings import Settings
from storage.clickhouse.fingerprints import Cut, clickhouse_slices, postgres_slices
from storage.redis.keys import EVERY_INDEX
from wiring.process import Services

SPOILT = 1_000
SEED = 7
ROUNDS = 3
LOOK_SECONDS = 1.0
_BYTES = """
SELECT sum(octet_length(content)), sum(octet_length(content) + octet_length(metadata::text)
           + octet_length(user_id) + octet_length(thread_id) + octet_length(role)
           + octet_length(content_hash) + 16 + 8 * 4)
FROM messages"""


class CheckResult(NamedTuple):
    """All figures: clean checks, their bytes, and the three checks around the damage."""

    clean: list[ConsistencyReport]
    answered: dict[str, int]
    content_bytes: int
    row_bytes: int
    named: ConsistencyReport
    repaired: ConsistencyReport
    again: ConsistencyReport
    spoilt: set[str]
    is_as_before: bool

    @property
    def is_right(self) -> bool:
        """Whether exactly the damaged messages were named, and all is as it was."""
        exact = {one.id for one in self.named.differences} == self.spoilt
        return exact and self.is_as_before and self.again.data_consistency_score == 100.0


def main() -> int:
    """Runs it; gives the exit status."""
    say = Console(stderr=True, highlight=False).print
    conversations = chitchat.read(files("chitchat_dataset").joinpath("dataset.json").read_bytes())
    say("starting a stack of its own")
    try:
        with ephemeral_stack() as env:
            own = settings.load(env)
            services = Services(own)
            say("importing")
            import_rest(services, conversations, 0)
            say("checking")
            result = _measure(services, own)
    except StackFailed as error:
        say(str(error), markup=False)
        return 1
    Console(highlight=False).print(_table(result))
    return 0 if result.is_right else 1


def _measure(services: Services, own: Settings) -> CheckResult:
    clean = [_check(services) for _ in range(ROUNDS)]
    with services.tiers.job_engine.connect() as connection:
        content_bytes, row_bytes = connection.execute(text(_BYTES)).one()
    _wait_for_cold_indexes(services)
    answered = _answered(own)
    histories = _prepare(services)
    before = _state(services)
    for way, batch in zip(WAYS, histories, strict=True):
        way.spoil(services, batch)
    named, repaired, again = _check(services), _check(services, repair=True), _check(services)
    spoilt = {one.newest.id for batch in histories for one in batch}
    is_as_before = _state(services) == before
    return CheckResult(
        clean, answered, int(content_bytes), int(row_bytes), named, repaired, again, spoilt,
        is_as_before,
    )  # fmt: skip


def _check(services: Services, *, repair: bool = False) -> ConsistencyReport:
    return services.jobs.consistency_checker.check(actor="benchmark", repair=repair)


def _wait_for_cold_indexes(services: Services) -> None:
    """Waits: an import marks the index of each of its threads for a minute."""
    while next(services.tiers.redis_client.scan_iter(match=EVERY_INDEX, count=1_000), None):
        time.sleep(LOOK_SECONDS)


def _answered(own: Settings) -> dict[str, int]:
    """All bytes that the servers sent during a check."""
    with counted(own) as (led, relays):
        _check(Services(led))
        return {tier: relay.answered_bytes for tier, relay in relays.items()}


def _prepare(services: Services) -> list[list[MessageVersions]]:
    """Messages for each kind of damage; edited, deleted or hot if it needs that."""
    rest = drawn(services, SPOILT, SEED)
    prepared: list[list[MessageVersions]] = []
    for way, count in zip(WAYS, shares(SPOILT), strict=True):
        batch, rest = rest[:count], rest[count:]
        if way.of == "edited":
            histories = edit(services, batch)
        elif way.of == "deleted":
            histories = bury(services, batch)
        else:
            histories = [MessageVersions(one, one) for one in batch]
        prepared.append(histories)
    services.jobs.drain_pipeline()
    for way, histories in zip(WAYS, prepared, strict=True):
        if way.of == "hot":
            heat(services, histories)
    return prepared


def _state(services: Services) -> Sequence[object]:
    """Checksums of all rows in both databases, and the figures of all threads."""
    figures = "SELECT user_id, id, message_count, last_message_at FROM threads ORDER BY 1, 2"
    with services.tiers.job_engine.connect() as connection:
        threads = connection.execute(text(figures)).all()
        ours = postgres_slices(connection, Cut())
    return threads, ours, clickhouse_slices(services.tiers.job_clickhouse, Cut())


def _table(result: CheckResult) -> Table:
    table = Table(title="Checking 258,145 messages")
    table.add_column("")
    table.add_column("", justify="right")
    first = result.clean[0]
    compared = first.pairs["postgresql-clickhouse"].compared
    seconds = statistics.median(one.seconds or 0.0 for one in result.clean)
    table.add_row("messages compared", f"{compared:,}")
    table.add_row("threads compared", f"{first.pairs['threads'].compared:,}")
    table.add_row("clean check, median of three", f"{seconds:.2f} s")
    total = sum(result.answered.values())
    for tier, count in result.answered.items():
        table.add_row(f"answered by {tier}", f"{count:,} B")
    table.add_row("of the bytes of the texts alone", f"{100 * total / result.content_bytes:.2f} %")
    table.add_row("of the bytes of the rows", f"{100 * total / result.row_bytes:.3f} %")
    table.add_section()
    ids = {one.id for one in result.named.differences}
    table.add_row("spoilt", f"{len(result.spoilt):,}")
    table.add_row("named", f"{len(ids & result.spoilt):,} in {result.named.seconds:.2f} s")
    table.add_row("named besides", f"{len(ids - result.spoilt):,}")
    table.add_row("repaired", f"{result.repaired.repaired:,} in {result.repaired.seconds:.2f} s")
    table.add_row("then different", f"{result.again.differing:,}")
    table.add_row("every row and figure as before", "yes" if result.is_as_before else "NO")
    table.add_section()
    for name, pair in result.named.pairs.items():
        table.add_row(f"{name}, seconds", f"{pair.seconds:.2f}")
        for kind, count in pair.kinds.items():
            table.add_row(kind.replace("_", " "), f"{count:,}")
    return table
