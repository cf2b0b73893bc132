"""What several tiers answer shows nothing older than what was acknowledged before."""

from typing import Any

import pytest

from storage.errors import NotFound
from storage.messages.posts import Draft
from storage.redis import keys
from wiring.process import Services

DELETED: list[str] = []


@pytest.mark.parametrize(("is_edit", "expected"), [(True, ["second"]), (False, DELETED)])
def test_what_leaves_the_log_while_a_page_is_read_and_is_evicted_at_once(
    alone: Services, user: str, monkeypatch: pytest.MonkeyPatch, is_edit: bool, expected: list[str]
) -> None:
    message_id = alone.messages.post(user, "t", Draft("user", "first", {})).message.id
    alone.jobs.persistence.drain_backlog()
    alone.tiers.redis_repair.invalidate_indexes([(user, "t")])
    if is_edit:
        alone.messages.edit(user, message_id, content="second", metadata=None, if_version=None)
    else:
        alone.messages.delete(user, message_id, if_version=None)
    postgres = alone.tiers.postgres
    page, slot = postgres.page, alone.tiers.redis.slot_of_message(message_id)
    read: list[str] = []

    def read_before_the_commit(*given: Any) -> Any:
        found = page(*given)
        if not read:
            alone.jobs.persistence.drain_backlog()
            alone.tiers.redis_repair.evict_committed([keys.message(slot, message_id)])
            assert alone.tiers.redis.message(message_id) is None
        read.extend(one.content for one in found.messages)
        return found

    monkeypatch.setattr(postgres, "page", read_before_the_commit)
    found = alone.failover.retrieval.page(user, "t", limit=9, cursor=None, order="desc")
    assert read[0] == "first"
    assert ([one.content for one in found.messages], found.warning) == (expected, None)


def test_a_deletion_of_the_thread_that_is_committed_and_evicted_while_a_message_is_read(
    alone: Services, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    message_id = alone.messages.post(user, "t", Draft("user", "first", {})).message.id
    alone.jobs.persistence.drain_backlog()
    slot = alone.tiers.redis.slot_of_message(message_id)
    alone.tiers.redis_repair.evict_committed([keys.message(slot, message_id)])
    alone.threads.delete(user, "t")
    postgres, found = alone.tiers.postgres, []
    read = postgres.message

    def read_before_the_commit(*given: Any) -> Any:
        found.append(read(*given))
        alone.jobs.persistence.drain_backlog()
        names = [keys.thread(slot, user, "t"), keys.watermark(slot, user, "t")]
        alone.tiers.redis_repair.evict_committed(names)
        assert alone.tiers.redis.thread(user, "t") == (None, None)
        return found[-1]

    monkeypatch.setattr(postgres, "message", read_before_the_commit)
    with pytest.raises(NotFound):
        alone.failover.retrieval.get(user, message_id)
    assert found[0] is not None
