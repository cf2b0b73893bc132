"""Search over the tiers: the same answers whichever of them has a message, and right at once."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from jobs.persist.drain import Drained
from jobs.recover.runs import NOTICE, RecoveryRun
from models import codec, ids
from models.message import Message
from models.search import parse
from storage.clickhouse import schema
from storage.messages.posts import Draft
from storage.search.query import SearchSpan, Wanted
from support.calls.erasing import erase
from support.calls.searching import expected, find, found, moved, spaced
from support.data.samples import AWKWARD_TEXTS, append_of, message
from support.stack.clickhouse_requests import clickhouse_post
from wiring.process import Services

TEXTS = (
    *AWKWARD_TEXTS,
    "Un café, s'il vous plaît; CAFE\u0301 noir",
    "\u5317\u4eac\u5927\u5b66\u3067\u65e5\u672c\u8a9e\u3092\u5b66\u3076",
    "\uff76\uff9e\uff97\uff7d and \u30ac\u30e9\u30b9",
    "\ud559\uad50\uc5d0\uc11c \ub9cc\ub098\uc694",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u041c\u0418\u0420",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e04\u0e23\u0e31\u0e1a",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e",
    "\u0645\u0631\u062d\u0628\u064b\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
    "Stra\u00dfe, STRASSE, \u1e9e and z\u0142oty \u00d8re",
    "deploy the deployment, then don\u2019t re-deploy: to be or not to be",
    "a" * 70 + " " + "x" * 60_000,
    "\u5317" * 3_000,
    "\u5317\uff0c\u5927 and \u5317 \u5927",
    "foo_bar@example.com 3.14 1e5 007",
)
QUERIES = (
    "cafe", "CAF\u00c9 noir", '"to be"', "not* be", "deploy", "deploy*", "don't", "strasse",
    "z\u0142oty", "zlot*", "\u5927", "\u5317\u4eac", "\u4eac\u5317", "\u5317\u5927",
    "\u30ac\u30e9\u30b9",
    "\u5b66\u6821", "\ud559\uad50", "\u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440",
    "\u043f\u0440\u0438*", "\u0e2a\u0e14\u0e35", "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\u0645\u0631\u062d\u0628\u0627", "\N{WAVING HAND SIGN}", "\N{MAN}\u200d\N{WOMAN}",
    "foo_bar@example.com", "3.14", "1e5", "a" * 70, "x*", "nowhere", "the", "alert", "00*",
)  # fmt: skip


@pytest.fixture
def texts(alone: Services, user: str) -> list[Message]:
    made = [message(user, f"t{number % 3}", one) for number, one in enumerate(TEXTS)]
    strangers = [message(f"{user}-other", "t0", one) for one in TEXTS]
    alone.tiers.redis.append([append_of(one) for one in (*made, *strangers)], 60)
    return made


def test_every_tier_finds_the_same(
    alone: Services, user: str, texts: list[Message], drain: Callable[[], Drained]
) -> None:
    truth = {query: expected(texts, query) for query in QUERIES}
    assert sum(map(bool, truth.values())) > 25

    def answers() -> dict[str, list[str]]:
        return {query: find(alone, user, query) for query in QUERIES}

    assert answers() == truth
    assert found(alone, user, "cafe").source == "redis"
    drain()
    assert answers() == truth
    assert found(alone, user, "cafe").source == "postgresql"
    alone.jobs.replication.ship_all()
    with moved(alone, texts):
        assert answers() == truth
        assert found(alone, user, "cafe").source == "clickhouse"


def where(alone: Services, stage: str, made: Sequence[Message]) -> Any:
    """Carries what there is as far as a stage; the archive lasts as long as the block."""
    if stage != "log":
        alone.jobs.persistence.drain_backlog()
    if stage in {"replicated", "archived"}:
        alone.jobs.replication.ship_all()
    return moved(alone, made if stage == "archived" else made[:0]) if stage == "archived" else None


@pytest.mark.parametrize("stage", ["log", "committed", "replicated", "archived"])
def test_edits_and_deletes_are_right_at_once_and_stay_right(
    alone: Services, user: str, stage: str
) -> None:
    made = spaced(user, *((f"t{number % 2}", f"apples number {number}") for number in range(6)))
    alone.tiers.redis.append([append_of(one) for one in made], 60)
    block = where(alone, stage, made)
    if block is not None:
        block.__enter__()
    try:
        alone.messages.edit(user, made[0].id, content="pears", metadata=None, if_version=None)
        alone.messages.delete(user, made[1].id, if_version=None)
        alone.messages.edit(user, made[3].id, content="apples anew", metadata=None, if_version=None)
        rest = [made[number].id for number in (5, 4, 3, 2)]
        for carry in (
            lambda: None,
            alone.jobs.persistence.drain_backlog,
            alone.jobs.replication.ship_all,
        ):
            carry()
            assert find(alone, user, "apples") == rest
            assert find(alone, user, "pears") == [made[0].id]
            assert find(alone, user, "anew") == [made[3].id]
        alone.threads.delete(user, "t0")
        left = [name for name in rest if name in {made[3].id, made[5].id}]
        for carry in (
            lambda: None,
            alone.jobs.persistence.drain_backlog,
            alone.jobs.replication.ship_all,
        ):
            carry()
            assert find(alone, user, "apples") == left
            assert find(alone, user, "pears") == []
    finally:
        if block is not None:
            block.__exit__(None, None, None)


def test_superseded_versions_in_clickhouse_are_not_found(alone: Services, user: str) -> None:
    made = spaced(user, *[("t", "apples")] * 3)
    alone.tiers.redis.append([append_of(*made)], 60)
    alone.jobs.drain_pipeline()
    alone.messages.edit(user, made[0].id, content="pears", metadata=None, if_version=None)
    alone.messages.delete(user, made[1].id, if_version=None)
    alone.jobs.drain_pipeline()
    with moved(alone, made):
        assert find(alone, user, "apples") == [made[2].id]
        assert find(alone, user, "pears") == [made[0].id]


def test_who_is_erased_is_found_no_more(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made = spaced(user, *[("t", "quinces")] * 3)
    alone.tiers.redis.append([append_of(*made)], 60)
    drain()
    alone.jobs.replication.ship_all()
    pending = alone.messages.post(user, "t2", Draft("user", "quinces too", {}, None)).message
    assert find(alone, user, "quinces") == [pending.id, *(one.id for one in reversed(made))]
    # The mark alone hides everything, in whichever tier it still is.
    alone.jobs.user_erasure.request(user, by="an admin")
    assert find(alone, user, "quinces") == []
    erase(alone, user)
    assert find(alone, user, "quinces") == []
    again = alone.messages.post(user, "t", Draft("user", "quinces again", {}, None)).message
    assert find(alone, user, "quinces") == [again.id]


def test_pages_give_each_once_newest_first_over_threads_and_tiers(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made = spaced(
        user,
        *(
            (f"t{number % 7}", f"walnut {number}" if number % 3 else "other")
            for number in range(120)
        ),
    )
    old, middle, new = made[:60], made[60:100], made[100:]
    for part in (old, middle):
        alone.tiers.redis.append([append_of(one) for one in part], 60)
        drain()
    alone.jobs.replication.ship_all()
    alone.tiers.redis.append([append_of(one) for one in new], 60)
    truth = set(expected(made, "walnut")) - {old[1].id} | {old[0].id}
    with moved(alone, old):
        # The changes are still on their way.
        alone.messages.edit(
            user, old[0].id, content="walnut, once other", metadata=None, if_version=None
        )
        alone.messages.delete(user, old[1].id, if_version=None)
        for limit in (3, 40, 1000):
            names: list[str] = []
            cursor = None
            while True:
                wanted = Wanted(parse("walnut"))
                page = alone.search.search(user, wanted, limit=limit, cursor=cursor)
                names += [hit.message.id for hit in page.hits]
                assert page.next_cursor is None or page.next_cursor != cursor
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert names == sorted(truth, reverse=True)


def test_filters(alone: Services, user: str, drain: Callable[[], Drained]) -> None:
    roles = ("user", "assistant", "tool")
    made = [
        codec.seal(msgspec.structs.replace(one, role=roles[number % 3]))
        for number, one in enumerate(spaced(user, *[("a", "figs")] * 3, *[("b", "figs")] * 3))
    ]
    for carried in (False, True):
        if not carried:
            alone.tiers.redis.append([append_of(one) for one in made], 60)
        else:
            drain()
        names = [one.id for one in made]
        assert find(alone, user, "figs", thread_id="b") == names[:2:-1]
        assert find(alone, user, "figs", role="tool") == [names[5], names[2]]
        since, until = made[2].created_at, made[4].created_at
        assert find(alone, user, "figs", since=since, until=until) == [names[3], names[2]]
        assert find(alone, user, "figs", until=made[0].created_at) == []
        assert find(alone, user, "figs", since="2299-01-01T00:00:00.000000Z") == []


def test_common_words_do_not_read_everything(
    alone: Services, user: str, drain: Callable[[], Drained], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [message(user, content=f"the {number}") for number in range(600)]
    alone.tiers.redis.append([append_of(*made)], 60)
    drain()
    asked: list[int] = []
    candidates = alone.search.rows.candidates

    def counted(*arguments: Any) -> Any:
        page = candidates(*arguments)
        asked.append(len(page.messages))
        return page

    monkeypatch.setattr(alone.search.rows, "candidates", counted)
    assert find(alone, user, "the", limit=20) == [one.id for one in made[:-21:-1]]
    assert sum(asked) < 100


def test_what_was_there_before_the_index_is_found(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made = message(user, content="\u00e9clairs before")
    alone.tiers.redis.append([append_of(made)], 60)
    drain()
    server = alone.tiers.job_clickhouse
    clickhouse_post(server, "ALTER TABLE messages DROP INDEX by_words")
    clickhouse_post(server, "ALTER TABLE messages DROP COLUMN words SETTINGS mutations_sync = 2")
    clickhouse_post(server, "DELETE FROM schema_migrations WHERE name LIKE '%_search%'")
    alone.jobs.replication.ship_all()
    assert schema.migrate_clickhouse(server) == [
        "clickhouse 0007_search",
        "clickhouse 0009_search_pieces",
    ]
    with moved(alone, [made]):
        assert find(alone, user, "eclairs") == [made.id]


def test_nobody_is_given_what_waits_of_somebody_else(
    alone: Services, user: str, texts: list[Message], drain: Callable[[], Drained]
) -> None:
    drain()
    waiting = {name: alone.search.rows.waiting(name) for name in (user, f"{user}-nobody", "")}
    assert sorted(waiting[user] or ()) == sorted(one.id for one in texts)
    assert waiting[f"{user}-nobody"] == waiting[""] == []
    span = SearchSpan(ids.LOWEST, ids.HIGHEST, 100)
    theirs = alone.search.rows.waiting(f"{user}-other")
    for wanted in (Wanted(parse("cafe")), Wanted(parse("the"))):
        assert alone.search.rows.candidates(user, wanted, span, theirs).messages == []


def test_an_outbox_that_is_too_long_to_be_read_hides_nothing(
    alone: Services,
    user: str,
    texts: list[Message],
    drain: Callable[[], Drained],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after an outage of ClickHouse: all rows of the user are read, part by part."""
    drain()
    monkeypatch.setattr("storage.search.postgres.MOST_WAITING", 3)
    monkeypatch.setattr("storage.search.service.FIRST_ROWS", 4)
    for query in QUERIES:
        assert find(alone, user, query) == expected(texts, query)
    assert found(alone, user, "cafe").warning is None
    alone.messages.edit(user, texts[0].id, content="tea", metadata=None, if_version=None)
    drain()
    assert find(alone, user, "tea") == [texts[0].id]


def test_what_a_recovery_has_not_carried_over_yet_is_found(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made = message(user, content="persimmons")
    alone.tiers.redis.append([append_of(made)], 60)
    drain()
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM clickhouse_outbox"))
    assert find(alone, user, "persimmons") == []
    run = RecoveryRun(id=made.id, source="postgresql", actor="an admin", target_rto_seconds=1.0)
    alone.tiers.notices.write(NOTICE, run)
    assert find(alone, user, "persimmons") == [made.id]
    over = msgspec.structs.replace(run, state="complete")
    alone.tiers.notices.write(NOTICE, over)
    assert find(alone, user, "persimmons") == []
