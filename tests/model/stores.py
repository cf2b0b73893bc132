"""What the tiers hold, read past the API and held against the model."""

from typing import Any

from sqlalchemy import text

from jobs.consistency.report import Scope
from model.world import Differs, Person, same
from models import codec
from storage.clickhouse import direct_writes
from storage.redis import keys
from support.data.everywhere import places
from support.waiting import eventually
from wiring.process import Services

QUIET_SECONDS = 90
_WAITING = text(
    "SELECT (SELECT count(*) FROM clickhouse_outbox) AS outbox,"
    " (SELECT count(*) FROM redis_backfill) AS backfill"
)
_ROWS = text(
    "SELECT id::text, version, content_hash FROM messages"
    " WHERE user_id = :user AND deleted_at IS NULL"
)
_ARCHIVED = (
    "SELECT toString(id), toUInt64(version), content_hash FROM messages FINAL"
    " WHERE user_id = '{user}' AND deleted_at IS NULL"
)


class Stores:
    """The stores of a stack."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def wait_until_quiet(self) -> None:
        """Until nothing waits anywhere to be carried on."""
        eventually(self._is_quiet, QUIET_SECONDS)

    def _is_quiet(self) -> bool:
        own = self._services
        own.jobs.erasure.erase_deleted_threads()
        own.jobs.row_copies.ship()
        own.jobs.audit_outbox.ship_all()
        with own.tiers.job_engine.connect() as connection:
            waiting = dict(connection.execute(_WAITING).one()._mapping)
        waiting["logged"] = sum(own.tiers.pending_log.backlog())
        waiting["to bring home"] = direct_writes.count_direct_writes(own.tiers.job_clickhouse)
        same("what waits", waiting, dict.fromkeys(waiting, 0))
        return True

    def hold(self, person: Person) -> None:
        """Exactly what is live is live in each of them, and nothing that is not."""
        wanted = {
            said.record["id"]: (said.record["version"], said.record["content_hash"])
            for _, said in person.live()
            if said.record is not None
        }
        below, rows = self._rows(person)
        archived = self._archived(person)
        same(f"ClickHouse's live rows of {person.name}", _by_id(archived), wanted)
        kept = {name: found for name, found in wanted.items() if name >= below}
        above = [row for row in rows if row[0] >= below]
        same(f"PostgreSQL's live rows of {person.name}", _by_id(above), kept)
        strays = {row[0] for row in rows} - set(wanted)
        same(f"PostgreSQL's other live rows of {person.name}", strays, set())
        self._hot(person, wanted)

    def _rows(self, person: Person) -> tuple[str, list[Any]]:
        with self._services.tiers.job_engine.connect() as connection:
            boundary = text("SELECT below::text FROM archive_boundary")
            below = str(connection.execute(boundary).scalar_one())
            rows = [tuple(row) for row in connection.execute(_ROWS, {"user": person.name})]
        return below, rows

    def _archived(self, person: Person) -> list[Any]:
        with self._services.tiers.job_clickhouse.engine.connect() as connection:
            query = _ARCHIVED.format(user=person.name)
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def _hot(self, person: Person, wanted: dict[str, Any]) -> None:
        """A copy in Redis is of the newest version, or gone, or of what is deleted and says so."""
        client = self._services.tiers.redis_client
        for name in client.scan_iter("message:active:*"):
            record = client.get(name)
            message = codec.decode(record) if record else None
            if message is None or message.user_id != person.name or message.deleted_at:
                continue
            found = (message.version, message.content_hash)
            same(f"Redis's copy of {message.id}", found, wanted.get(message.id))
        for name in client.scan_iter(keys.EVERY_INDEX):
            if f":{keys.encode(person.name)}:" in name.decode():
                listed = {one.decode() for one in client.zrange(name, 0, -1)}
                strays = {one for one in listed if one[0] not in "!~"} - set(wanted)
                same(f"Redis's index {name.decode()}", strays, set())

    def check(self, person: Person) -> None:
        """The tiers agree."""
        report = self._services.jobs.consistency_checker.check(
            Scope(user_id=person.name), actor="the model", repair=False
        )
        if report.remaining:
            lines = [str(one) for one in report.differences]
            raise Differs(f"a check of {person.name} finds\n  " + "\n  ".join(lines))

    def purge(self) -> None:
        """What the nightly maintenance does with what was deleted."""
        self._services.jobs.physical_erasure.purge()

    def hold_nothing_of(self, *texts: str) -> None:
        """Once it is purged, what was deleted is nowhere."""
        self.purge()
        same("places of what was deleted", places(self._services, *texts), set())


def _by_id(rows: list[Any]) -> dict[str, tuple[int, str]]:
    found = {str(name): (int(version), str(hashed)) for name, version, hashed in rows}
    if len(found) != len(rows):
        raise Differs(f"rows that are there twice: {rows}")
    return found
