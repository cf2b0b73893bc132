"""Who reads while a partition goes finds every message: in one tier, or in both."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event

from jobs.archive import detachment
from models import codec, ids
from models.message import Message
from support.data.archives import archive, exported, old, write
from support.data.exporting import messages_of
from wiring.process import Services


@pytest.fixture
def week(store: Services, user: str) -> list[Message]:
    made = [old(user, day=number / 10, content=f"message {number}") for number in range(20)]
    write(store, made)
    return made


@contextmanager
def archived_before(store: Services, engine: Engine, nth: int) -> Iterator[None]:
    """Archives everything right before the n-th statement that somebody else sends."""
    sent = [0]

    def watch(*_: object) -> None:
        sent[0] += 1
        if sent[0] == nth:
            archive(store)

    event.listen(engine, "before_cursor_execute", watch)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", watch)
    assert sent[0] >= nth


@pytest.mark.parametrize("nth", [2, 3, 4])
def test_a_page_that_is_read_while_its_partition_goes_is_whole(
    store: Services, user: str, week: list[Message], monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """Role, watermark, rows, boundary: archived before any of these, the rows are found."""
    monkeypatch.setattr(detachment, "ATTEMPTS", 1)
    monkeypatch.setattr(detachment, "sleep", lambda seconds: None)
    store.tiers.redis_client.flushall()
    with archived_before(store, store.tiers.request_engine, nth):
        page = store.tiers.postgres.page(user, "t", ids.LOWEST, ids.HIGHEST, "desc", 50)
    assert len(page.messages) == len(week) or page.boundary > week[-1].id


@pytest.mark.parametrize("nth", [2, 3, 4, 5])
def test_an_export_that_begins_while_its_partition_goes_is_whole(
    store: Services, week: list[Message], monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    before = exported(store)
    own = Services(store.settings)
    monkeypatch.setattr(detachment, "ATTEMPTS", 1)
    monkeypatch.setattr(detachment, "sleep", lambda seconds: None)
    exporter = own.jobs.exporter
    with archived_before(store, own.tiers.job_engine, nth):
        assert [codec.encode(one) for one in messages_of(exporter)] == before
    own.tiers.job_engine.dispose()
    own.tiers.redis_client.close()
