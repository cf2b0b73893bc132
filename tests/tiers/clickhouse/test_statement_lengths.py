"""Every statement to ClickHouse that names many things, with as many as there can be, each as long
as it can be: it fits what ClickHouse reads, and none of it stands in the request line."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from sqlalchemy import text

from jobs.archive.expected_counts import lower_expected
from jobs.archive.row_proof import RowProver
from jobs.consistency.compare import watermarks
from jobs.consistency.judge.copies import Copies, archived_rows
from jobs.consistency.judge.verdict import CopyVerdict
from jobs.consistency.repair.copies import put_into_clickhouse
from jobs.consistency.report import Scope
from jobs.erase import purge
from jobs.erase.policies import Holds
from jobs.recover import direct_writes, thread_counts
from jobs.recover.clickhouse_source import ClickHouseSource, Position
from jobs.replicate import message_outbox
from models import ids
from models.appends import Key, Made
from models.message import (
    MAX_IDEMPOTENCY_KEY_BYTES,
    MAX_USER_ID_BYTES,
    Message,
    check_idempotency_key,
    check_user_id,
)
from storage.analytics.clickhouse import ArchiveFigures
from storage.analytics.figures import Counted
from storage.analytics.hidden import MOST_MARKS, Mark
from storage.clickhouse.fingerprints import (
    MAX_SHARES,
    MOST_NAMED,
    Cut,
    SliceKey,
    clickhouse_rows,
    clickhouse_rows_of,
)
from storage.clickhouse.idempotency import ClickHouseKeys
from storage.clickhouse.reads import ClickHouseTier
from storage.clickhouse.session import MOST_BYTES
from storage.errors import TierRejected
from storage.search.clickhouse import SearchArchive
from support.data.archives import put_in_clickhouse
from support.data.samples import message, revised
from support.stack.clickhouse_requests import clickhouse_post
from wiring.process import Services

MOST_LINE = 2_000
"""Of a request line: less than any proxy takes."""
NAMES = [ids.mint(1_600_000_000_000_000 + number, number) for number in range(MOST_NAMED)]
BOUNDARY = ids.mint(1_700_000_000_000_000, 0)


def long_user(number: int) -> str:
    """Escaped or percent-encoded it is several times as long."""
    user = f"{number}'\\%\n\N{SNOWMAN}".ljust(MAX_USER_ID_BYTES - 2, "'")
    check_user_id(user)
    return user


def long_thread(number: int) -> str:
    return str(number).ljust(128, ":")


THREADS = [(long_user(number), long_thread(number)) for number in range(500)]


class Sent(list[tuple[int, int]]):
    """The lengths of what was sent: of the request line, and of a statement in the body; `bodies`
    are those statements."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    def fit(self, at_least: int = 1) -> bool:
        """Whether all of it does, and it was so many statements."""
        assert len(self) >= at_least
        assert max(line for line, _ in self) < MOST_LINE
        assert max(size for _, size in self) <= MOST_BYTES
        return True


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sent]:
    found = Sent()
    before = HTTPAdapter.send

    def send(adapter: HTTPAdapter, request: PreparedRequest, *told: Any, **options: Any) -> Any:
        line = request.path_url
        has_rows = "query=" in line
        found.append((len(line), 0 if has_rows else len(request.body or b"")))
        body = request.body or b""
        found.bodies.append(body if isinstance(body, bytes) else body.encode())
        return before(adapter, request, *told, **options)

    monkeypatch.setattr(HTTPAdapter, "send", send)
    yield found


def test_a_statement_that_is_too_long_is_never_sent(alone: Services, sent: Sent) -> None:
    long = f"SELECT '{'x' * MOST_BYTES}'"
    with pytest.raises(TierRejected, match="not sent"):
        alone.tiers.job_clickhouse.lines(long)
    with (
        pytest.raises(TierRejected, match="not sent"),
        alone.tiers.job_clickhouse.engine.connect() as connection,
    ):
        connection.exec_driver_sql(long)
    assert not sent
    # The longest one that may be sent is read to its end.
    longest = f"SELECT length('{'x' * (MOST_BYTES - 60)}') AS n"
    assert alone.tiers.job_clickhouse.lines(longest) == b'{"n":204740}\n'
    assert sent.fit()


def test_recovery(alone: Services, sent: Sent) -> None:
    source = ClickHouseSource(alone.tiers.job_clickhouse)
    assert source.named(NAMES) == []
    place = Position(long_user(1), long_thread(1), "2020-01-01 00:00:00.000000", NAMES[0])
    assert source.page(202001, BOUNDARY, place) == []
    assert sent.fit(2)


def test_fingerprints(alone: Services, sent: Sent) -> None:
    slices = [SliceKey(3_000, share) for share in range(MAX_SHARES)]
    assert clickhouse_rows(alone.tiers.job_clickhouse, Cut(shares=MAX_SHARES), slices) is not None
    assert clickhouse_rows_of(alone.tiers.job_clickhouse, NAMES) == {}
    prover = RowProver(alone.tiers)
    assert list(prover._archived(NAMES)) == []
    assert sent.fit(8)


def test_keys(alone: Services, sent: Sent) -> None:
    keys = ClickHouseKeys(alone.tiers.job_clickhouse, alone.tiers.breakers.clickhouse, 86_400)
    name = "\\'" * (MAX_IDEMPOTENCY_KEY_BYTES // 2 - 4)
    wanted = [
        Key(user, thread, f"{name}{number:08d}") for number, (user, thread) in enumerate(THREADS)
    ]
    check_idempotency_key(wanted[0].key)
    made = {wanted[7]: NAMES[7], wanted[-1]: NAMES[8]}
    keys.tell({key: Made(name, "", "") for key, name in made.items()})
    assert keys.made(dict.fromkeys(wanted, "")) == made
    assert sent.fit(4)


def test_thread_lists(alone: Services, sent: Sent) -> None:
    # With the deadline of a job: how long a busy machine takes is no matter here.
    tier = ClickHouseTier(alone.tiers.job_clickhouse, alone.tiers.breakers.clickhouse)
    user = long_user(0)
    marks = {long_thread(number): NAMES[number] for number in range(1_001)}
    assert tier.newest(user, marks, BOUNDARY, 100) == {}
    assert sent.fit(2)


def test_search(alone: Services, sent: Sent) -> None:
    archive = SearchArchive(alone.tiers.job_clickhouse, alone.tiers.breakers.clickhouse)
    assert archive.known(long_user(0), NAMES) == []
    assert sent.fit()


def test_analytics(alone: Services, sent: Sent) -> None:
    figures = ArchiveFigures(alone.tiers.job_clickhouse, alone.tiers.breakers.clickhouse)
    marks = [Mark(long_user(n), long_thread(n), NAMES[n]) for n in range(MOST_MARKS)]
    counted = Counted(long_user(0), "2020-01-01T00:00:00.000000Z", None, "user")
    assert figures.figures(counted, marks)[0].messages == 0
    assert figures.series("messages", "day", counted, marks) == {}
    assert sent.fit(2)


def test_checks_of_threads(alone: Services, sent: Sent) -> None:
    marks = dict.fromkeys(THREADS, NAMES[0])
    found = thread_counts._archived(alone.tiers.job_clickhouse, marks, BOUNDARY, NAMES + NAMES)
    assert found == {}
    assert sent.fit(6)


def test_checks_of_what_is_erased(alone: Services, sent: Sent) -> None:
    values = [
        {"user": user, "thread": thread, "through": NAMES[number]}
        for number, (user, thread) in enumerate(THREADS)
    ]
    with alone.tiers.job_engine.connect() as connection:
        connection.execute(
            text(
                "INSERT INTO threads (user_id, id, created_at, updated_at, version, deleted_at,"
                " deleted_through, erased_through, purged_through) VALUES (:user, :thread, now(),"
                " now(), 1, now(), :through, :through, :through)"
            ),
            values,
        )
        connection.execute(
            text(
                "INSERT INTO user_erasures (user_id, erased_through, erased_at, requested_by,"
                " requested_at, finished_at, receipt)"
                " VALUES (:user, :through, now(), 'tester', now(), now(), '{}')"
            ),
            values,
        )
        assert watermarks.resurrected(connection, alone.tiers.job_clickhouse, Scope()) == set()
        assert watermarks.of_erased_users(connection, alone.tiers.job_clickhouse, Scope()) == set()
        connection.rollback()
    assert sent.fit(8)


def test_repair(alone: Services, sent: Sent) -> None:
    truths = [message(user, thread) for user, thread in THREADS]
    put_in_clickhouse(alone, *truths, *(revised(one, version=3) for one in truths))
    verdicts = [CopyVerdict(Copies(one.id), one, {"clickhouse": "different"}) for one in truths]
    put_into_clickhouse(alone.tiers.job_clickhouse, verdicts)
    rows = archived_rows(alone.tiers.job_clickhouse, [one.id for one in truths])
    assert [rows[one.id][0].message for one in truths] == truths
    assert sent.fit(5)
    _forget(alone, truths)


def test_what_is_on_hold_is_no_part_of_a_statement(alone: Services, sent: Sent) -> None:
    kept, free = (message(user, thread) for user, thread in THREADS[:2])
    buried = [revised(one, deleted=True) for one in (kept, free)]
    put_in_clickhouse(alone, kept, free)
    put_in_clickhouse(alone, *buried)
    holds = Holds([*((user, "") for user, _ in THREADS[2:]), THREADS[0], *THREADS[2:]])
    alone.jobs.physical_erasure._purge_versions(holds)
    # A merge may take the older version of either; only the statement says what was meant to go.
    deleting = b" ".join(body for body in sent.bodies if body.startswith(b"ALTER TABLE"))
    assert free.id.encode() in deleting
    assert kept.id.encode() not in deleting
    rows = archived_rows(alone.tiers.job_clickhouse, [free.id])
    assert [row.version for row in rows[free.id]] == [2]
    assert sent.fit()
    _forget(alone, [kept, free])


def test_erasure(alone: Services, sent: Sent) -> None:
    due: list[Any] = [
        SimpleNamespace(user_id=user, id=thread, deleted_through=NAMES[0])
        for user, thread in THREADS[: purge.THREADS_AT_ONCE]
    ]
    condition = f"is_deleted = 0 AND ({' OR '.join(map(purge._of_thread, due))})"
    lower_expected(alone.tiers.job_engine, alone.tiers.job_clickhouse, condition)
    with alone.tiers.job_engine.connect() as connection:
        message_outbox.keep_archived(connection, alone.tiers.job_clickhouse, NAMES + NAMES)
    writes = [
        direct_writes._Write(NAMES[0], 2**64 - 1, "", "", "", "")
        for _ in range(direct_writes.BATCH)
    ]
    alone.failover.handoff._strike_out(writes)
    assert sent.fit(4)


def _forget(alone: Services, of: list[Message]) -> None:
    """Others compare the tiers as a whole."""
    names = ", ".join(f"'{one.id}'" for one in of)
    clickhouse_post(
        alone.tiers.job_clickhouse,
        f"ALTER TABLE messages DELETE WHERE id IN ({names}) SETTINGS mutations_sync = 2",
    )
